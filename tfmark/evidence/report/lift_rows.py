"""The marks of the thorough question, one row each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfmark.evidence.openings import labels_of
from tfmark.evidence.record import Evidence
from tfmark.thorough import lifts


@dataclass(frozen=True)
class LiftRow:
    """A row.

    Attributes:
        mark: index of the mark.
        label: its secret class id.
        lift: how far it lifts its label.
        best: class id that it lifts most.
        most: how far it lifts that.
    """

    mark: int
    label: int
    lift: int
    best: int
    most: int


def lift_rows(evidence: Evidence) -> tuple[LiftRow, ...]:
    """All rows, in the order of the marks; none if the thorough question was not asked."""
    if evidence.thorough is None:
        return ()
    root = bytes.fromhex(evidence.commitment.commitment)
    labels = labels_of(evidence.openings, evidence.spec, root)
    found = lifts(evidence.thorough.scores)
    return tuple(
        LiftRow(opening.index, int(label), int(own[label]), int(np.argmax(own)), int(own.max()))
        for opening, label, own in zip(evidence.openings, labels, found, strict=True)
    )
