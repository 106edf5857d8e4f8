"""What an audit computes again. Each check raises an `EvidenceError` if it does not hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tfmark.errors import EvidenceError
from tfmark.evidence.choices import Choice, choices, log_tries
from tfmark.evidence.openings import labels_of
from tfmark.evidence.record import Evidence
from tfmark.evidence.replay import Replayed
from tfmark.evidence.same_images import same_scores
from tfmark.sequential import SequentialTest
from tfmark.thorough import weighed
from tfmark.triggers import TriggerSet
from tfmark.verdict import NOT_SHOWN, Verdict

SMALL = 1e-9  # by how much numbers may differ that another machine computed


def check_commitment(found: Evidence) -> None:
    """The published commitment has to be of the specification of the marks."""
    found.commitment.check(found.spec)


def check_answers(found: Evidence, replayed: Replayed) -> None:
    """The answers that were counted have to be those that were received."""
    asked = found.openings[: len(found.answers)]
    for opening, kept, read in zip(asked, found.answers, replayed.answers, strict=True):
        if kept != read:
            raise EvidenceError(f"the answer to mark {opening.index} was {read}, not {kept}")
    if replayed.alignment != found.verdict.alignment:
        raise EvidenceError("the suspect's classes were aligned in another way")
    if found.thorough is not None and not same_scores(found.thorough.scores, replayed.scores):
        raise EvidenceError("the scores of the thorough question are not those that were received")


def count_choices(found: Evidence, replayed: Replayed) -> tuple[Choice, ...]:
    """What the claimant could have chosen."""
    return _choices(found, replayed, len(found.exchanges), found.thorough is not None)


def run_test(found: Evidence, triggers: TriggerSet, replayed: Replayed) -> SequentialTest:
    """The test that the answers have to pass, from the first question to the last.

    Raises:
        EvidenceError: if other questions were asked than belong there, or not all.
        InvalidArgumentError: if so many marks cannot prove anything.
    """
    left, spec = found.spec.num_marks - found.first, found.spec
    fewest = len(triggers) if found.thorough is None else left
    if not fewest <= found.num_marks <= left:
        raise EvidenceError(f"{found.num_marks} questions are said to have been allowed, of {left}")
    before, *after = (log_tries(_choices(found, replayed, seen)) for seen in replayed.seen)
    test = SequentialTest(
        found.num_marks, spec.num_classes, found.verdict.alpha, log_tries=before,
        limited=found.num_marks < left,
    )  # fmt: skip
    for size, tries in zip(found.asking.rounds, after, strict=True):
        if (due := test.questions()) != size:
            raise EvidenceError(
                f"{size} questions were asked at once after {test.queries}, where {due} are due"
            )
        asked = slice(test.queries, test.queries + size)
        test.log_tries = tries
        test.record(np.array(found.answers[asked], np.int64), triggers.labels[asked])
    if test.questions():
        raise EvidenceError(f"the asking was ended after {test.queries} questions, undecided")
    return test


def new_test(verdict: Verdict, tries: float) -> SequentialTest:
    """The same test with no answers yet, of as many tries as it ended with."""
    test = SequentialTest(verdict.num_marks, verdict.num_classes, verdict.alpha, limited=True)
    test.log_tries = tries
    return test


def check_verdict(found: Evidence, test: SequentialTest, made: Iterable[Choice]) -> Verdict:
    """The verdict has to be what both questions give. Its reason is told anew."""
    claimed, computed = found.verdict, test.verdict()
    if found.thorough is not None:
        if computed.status != NOT_SHOWN:
            raise EvidenceError("it was asked thoroughly, and the ordinary question had shown it")
        labels = labels_of(found.openings, found.spec, bytes.fromhex(found.commitment.commitment))
        computed = weighed(computed, found.thorough.scores, labels, log_tries(made))
    computed = replace(computed, alignment=claimed.alignment)
    numbers = ("p_value", "evidence_bits", "tail_p_value", "tries")
    for name in numbers:
        if not _close(getattr(claimed, name), getattr(computed, name)):
            raise EvidenceError(
                f"{name} is {getattr(computed, name)}, not {getattr(claimed, name)}"
            )
    exact = {name: getattr(computed, name) for name in numbers}
    if claimed.thorough is not None and computed.thorough is not None:
        tail = computed.thorough.p_value
        if _close(claimed.thorough.p_value, tail):
            exact["thorough"] = replace(claimed.thorough, p_value=tail)
    if computed != replace(claimed, reason=computed.reason, **exact):
        raise EvidenceError(
            f"{computed.matches} of {computed.queries} answers match, which is "
            f"{computed.status!r} at alpha={computed.alpha:g}; it says {claimed.matches} of "
            f"{claimed.queries}, {claimed.status!r}"
        )
    return computed


def _choices(
    found: Evidence, replayed: Replayed, seen: int, thorough: bool = False
) -> tuple[Choice, ...]:
    return choices(
        found.first, found.spec.num_classes, found.commitment.value_range, found.asking.dialect,
        replayed.alignment, found.exchanges[:seen], thorough,
    )  # fmt: skip


def _close(claimed: float | None, computed: float | None) -> bool:
    if claimed is None or computed is None:
        return claimed is computed
    return math.isclose(claimed, computed, rel_tol=SMALL)
