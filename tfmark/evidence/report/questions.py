"""The questions of some evidence, one row each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfmark import marks
from tfmark.class_names import NO_ANSWER
from tfmark.derivation import mark_label, mark_stream
from tfmark.evidence.openings import Opening
from tfmark.evidence.record import Evidence
from tfmark.evidence.report.images import Picture, longest_side, picture
from tfmark.pixels import Pixels
from tfmark.spec import Spec
from tfmark.statistics import evidence_of

MATCH, MISS, NONE = "match", "miss", "no answer"
MOST_PICTURED = 256  # questions; of more, the rest are shown without pictures


@dataclass(frozen=True)
class Question:
    """A row.

    Attributes:
        number: from 1 up.
        mark: index of the mark.
        pictures: base image, mark and trigger; none where there are too many.
        label: secret class id of the mark, which follows from its subkey.
        answer: class id that the suspect answered, -1 if none.
        outcome: "match", "miss" or "no answer".
        log10_evidence: evidence after this answer, as a logarithm to base 10.
    """

    number: int
    mark: int
    pictures: tuple[Picture, ...]
    label: int
    answer: int
    outcome: str
    log10_evidence: float


def questions(evidence: Evidence) -> tuple[Question, ...]:
    """All rows, in the order in which the suspect was asked."""
    return tuple(_questions(evidence))


def _questions(evidence: Evidence) -> Iterator[Question]:
    spec, root = evidence.spec, bytes.fromhex(evidence.commitment.commitment)
    longest = longest_side(3 * min(len(evidence.openings), MOST_PICTURED))
    matches = 0
    asked = evidence.openings[: len(evidence.answers)]
    for number, (opening, answer) in enumerate(zip(asked, evidence.answers, strict=True), 1):
        label = mark_label(opening.subkey, root, spec.num_classes)
        matches += answer == label
        pictured = number <= MOST_PICTURED
        yield Question(
            number=number,
            mark=opening.index,
            pictures=_pictures(opening, spec, root, longest) if pictured else (),
            label=label,
            answer=answer,
            outcome=MATCH if answer == label else NONE if answer == NO_ANSWER else MISS,
            log10_evidence=evidence_of(matches, number, spec.num_classes) / math.log(10),
        )


def _pictures(opening: Opening, spec: Spec, root: bytes, longest: int) -> tuple[Picture, ...]:
    stream = mark_stream(opening.subkey, root, b"pattern")
    pattern, channels = marks.draw(spec, opening.index, stream), spec.shape[2]
    images = (
        opening.base,
        pattern.apply(_blank(spec), channels),
        pattern.apply(opening.base, channels),
    )
    return tuple(picture(image, longest) for image in images)


def _blank(spec: Spec) -> Pixels:
    """What a mark is shown on by itself: grey, or from black to white where it changes colours."""
    height, width, _ = spec.shape
    if spec.scheme != "unrelated":
        return np.full((height, width, 1), 128, np.uint8)
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.tile(ramp[None, :, None], (height, 1, 1))
