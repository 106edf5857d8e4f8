"""What an audit computes again. Each check raises an `EvidenceError` if it does not hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tfmark.commitment import Commitment
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
    published = found.commitment
    bound = Commitment.of(
        found.spec, published.commitment, published.weights, published.signer,
        published.value_range,
    )  # fmt: skip
    if bound != published:
        raise EvidenceError("commitment.json and the specification of the marks say other things")


def check_answers(found: Evidence, replayed: Replayed) -> None:
    """The answers that were counted have to be those that were received."""
    for opening, kept, read in zip(found.openings, found.answers, replayed.answers, strict=True):
        if kept != read:
            raise EvidenceError(f"the answer to mark {opening.index} was {read}, not {kept}")
    if replayed.alignment != found.verdict.alignment:
        raise EvidenceError("the suspect's classes were aligned in another way")


def count_choices(found: Evidence, replayed: Replayed) -> tuple[Choice, ...]:
    """What the claimant could have chosen."""
    return choices(
        found.first, found.spec.num_classes, found.commitment.value_range, found.asking.dialect,
        replayed.alignment,
    )  # fmt: skip


def new_test(found: Evidence, made: tuple[Choice, ...]) -> SequentialTest:
    """The test that the answers have to pass.

    Raises:
        InvalidArgumentError: if so many marks cannot prove anything.
    """
    left = found.spec.num_marks - found.first
    if not len(found.openings) <= found.num_marks <= left:
        raise EvidenceError(f"{found.num_marks} questions are said to have been allowed, of {left}")
    return SequentialTest(
        found.num_marks, found.spec.num_classes, found.verdict.alpha, log_tries=log_tries(made)
    )


def check_verdict(found: Evidence, triggers: TriggerSet, test: SequentialTest) -> Verdict:
    """The verdict has to be what the answers give."""
    if len(found.answers) != len(triggers):
        raise EvidenceError(f"{len(found.answers)} answers to {len(triggers)} triggers")
    test.record(np.array(found.answers, np.int64), triggers.labels)
    claimed = found.verdict
    computed = replace(test.verdict(), alignment=claimed.alignment, reason=claimed.reason)
    numbers = ("p_value", "evidence_bits", "tail_p_value", "tries")
    for name in numbers:
        if not _close(getattr(claimed, name), getattr(computed, name)):
            raise EvidenceError(
                f"{name} is {getattr(computed, name)}, not {getattr(claimed, name)}"
            )
    if computed != replace(claimed, **{name: getattr(computed, name) for name in numbers}):
        raise EvidenceError(
            f"{computed.matches} of {computed.queries} answers match, which is "
            f"{computed.status!r} at alpha={computed.alpha:g}; it says {claimed.matches} of "
            f"{claimed.queries}, {claimed.status!r}"
        )
    return computed


def _close(claimed: float | None, computed: float | None) -> bool:
    if claimed is None or computed is None:
        return claimed is computed
    return math.isclose(claimed, computed, rel_tol=SMALL)
