"""Asks a suspect: mark by mark until a test is decided, or thoroughly about all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tfmark.endpoints.base import Endpoint, checked_ids, checked_scores
from tfmark.errors import EndpointError, InvalidArgumentError
from tfmark.sequential import SequentialTest
from tfmark.thorough import rounds_of, weighed
from tfmark.triggers import TriggerSet
from tfmark.verdict import INCONCLUSIVE, Verdict

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey


def test_of_marks(
    key: WatermarkKey, alpha: float, max_queries: int | None = None, log_tries: float = 0.0
) -> SequentialTest:
    """A test of as many marks as are not opened yet, and may be asked.

    Raises:
        InvalidArgumentError: if these cannot prove anything at `alpha`.
    """
    if max_queries is not None and (type(max_queries) is not int or max_queries < 1):
        raise InvalidArgumentError(
            "Invalid value for argument `max_queries`. Expected a positive number. "
            f"Received: max_queries={max_queries!r}"
        )
    opened, num_classes = key.records.opened, key.spec.num_classes
    marks = key.spec.num_marks - opened
    if not marks:
        raise InvalidArgumentError(
            f"All {opened} marks of this key were opened in evidence; none is secret any more."
        )
    asked = marks if max_queries is None else min(marks, max_queries)
    try:
        return SequentialTest(asked, num_classes, alpha, log_tries=log_tries, limited=asked < marks)
    except InvalidArgumentError as error:
        if asked < marks:
            why = f"`max_queries={max_queries}` is too few for this `alpha`. "
        elif opened:
            why = f"The {marks} marks that were not opened yet are too few for this `alpha`. "
        else:
            raise
        raise InvalidArgumentError(f"{why}{error}") from None


def ask(suspect: Endpoint, triggers: TriggerSet, test: SequentialTest) -> Verdict:
    """Ask until the test is decided.

    Args:
        suspect: the suspect.
        triggers: one for each mark that may be asked, in order. Of evidence, only those that were
            opened: there is nothing to ask beyond.
        test: the test, with what was answered before, if anything; it counts on.
    """
    while count := min(test.questions(), len(triggers) - test.queries):
        asked = slice(test.queries, test.queries + count)
        try:
            answers = checked_ids(suspect.classify(triggers.pixels[asked]), count)
        except EndpointError as error:
            return test.verdict(str(error))
        test.record(answers, triggers.labels[asked])
    verdict = test.verdict()
    remark = "" if verdict.owned else getattr(suspect, "remark", "")
    return replace(verdict, reason=f"{verdict.reason} {remark}".rstrip())


def ask_thoroughly(
    suspect: Endpoint, key: WatermarkKey, before: Verdict, log_tries: Callable[[], float]
) -> Verdict:
    """Put all marks that are not opened on the same images, and weigh what is answered.

    Args:
        suspect: the suspect.
        key: the owner's key.
        before: what the ordinary question found.
        log_tries: gives, when all is asked, the natural logarithm of the number of tries to count.
    """
    rounds = []
    for triggers in on_same_images(key):
        try:
            rounds.append(checked_scores(suspect, triggers.pixels, key.spec.num_classes))
        except EndpointError as error:
            return replace(before, status=INCONCLUSIVE, reason=str(error))
    return weighed(before, np.stack(rounds), triggers.labels, log_tries())


def on_same_images(key: WatermarkKey) -> Iterator[TriggerSet]:
    """The marks that were not opened yet, all on one base image, then all on another, and so on."""
    marks = np.arange(key.records.opened, key.spec.num_marks)
    for slot in range(rounds_of(key.spec)):
        yield key.render(marks, np.full_like(marks, slot), "verification")
