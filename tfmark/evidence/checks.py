"""What an audit computes again. Each check raises an `EvidenceError` if it does not hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tfmark.errors import EvidenceError
from tfmark.evidence.choices import Choice, choices, log_tries
from tfmark.evidence.record import Evidence
from tfmark.evidence.replay import Replayed
from tfmark.sequential import SequentialTest
from tfmark.triggers import TriggerSet
from tfmark.verdict import Verdict

SMALL = 1e-9  # by how much numbers may differ that another machine computed


def check_commitment(found: Evidence) -> None:
    """The published commitment has to be of the specification of the marks."""
    found.commitment.check(found.spec)


def check_answers(found: Evidence, replayed: Replayed) -> None:
    """The answers that were counted have to be those that were received."""
    for opening, kept, read in zip(found.openings, found.answers, replayed.answers, strict=True):
        if kept != read:
            raise EvidenceError(f"the answer to mark {opening.index} was {read}, not {kept}")
    if replayed.alignment != found.verdict.alignment:
        raise EvidenceError("the suspect's classes were aligned in another way")


def count_choices(found: Evidence, replayed: Replayed) -> tuple[Choice, ...]:
    """What the claimant could have chosen."""
    return _choices(found, replayed, len(found.exchanges))


def run_test(found: Evidence, triggers: TriggerSet, replayed: Replayed) -> SequentialTest:
    """The test that the answers have to pass, from the first question to the last.

    Raises:
        EvidenceError: if other questions were asked than belong there, or not all.
        InvalidArgumentError: if so many marks cannot prove anything.
    """
    left, spec = found.spec.num_marks - found.first, found.spec
    if not len(triggers) <= found.num_marks <= left:
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


def check_verdict(found: Evidence, test: SequentialTest) -> Verdict:
    """The verdict has to be what the test gives. Its reason is told anew."""
    claimed = found.verdict
    computed = replace(test.verdict(), alignment=claimed.alignment)
    numbers = ("p_value", "evidence_bits", "tail_p_value", "tries")
    for name in numbers:
        if not _close(getattr(claimed, name), getattr(computed, name)):
            raise EvidenceError(
                f"{name} is {getattr(computed, name)}, not {getattr(claimed, name)}"
            )
    exact = {name: getattr(computed, name) for name in numbers}
    if computed != replace(claimed, reason=computed.reason, **exact):
        raise EvidenceError(
            f"{computed.matches} of {computed.queries} answers match, which is "
            f"{computed.status!r} at alpha={computed.alpha:g}; it says {claimed.matches} of "
            f"{claimed.queries}, {claimed.status!r}"
        )
    return computed


def _choices(found: Evidence, replayed: Replayed, seen: int) -> tuple[Choice, ...]:
    return choices(
        found.first, found.spec.num_classes, found.commitment.value_range, found.asking.dialect,
        replayed.alignment, found.exchanges[:seen],
    )  # fmt: skip


def _close(claimed: float | None, computed: float | None) -> bool:
    if claimed is None or computed is None:
        return claimed is computed
    return math.isclose(claimed, computed, rel_tol=SMALL)
