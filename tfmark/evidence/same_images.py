"""The thorough question as evidence has it: the images that all marks were put on, and the scores.

Which images these are follows from the commitment, so nobody chooses them. Each is shown with its
Merkle path, once, however many marks stand on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tfmark.answers import Scores
from tfmark.derivation import base_leaf, merkle_path, root_above
from tfmark.errors import EvidenceError
from tfmark.evidence.openings import Opening, triggers_of
from tfmark.pixels import Pixels, ValueRange
from tfmark.spec import Spec
from tfmark.thorough import rounds_of
from tfmark.triggers import TriggerSet

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey

MAX_NUMBERS = 18 << 20  # of all triggers; as JSON, of 14 bytes each, they still fit into a file


@dataclass(frozen=True)
class BaseOpening:
    """One base image, opened.

    Attributes:
        place: where it stands among all base images.
        image: uint8 array of shape (height, width, channels).
        path: nodes from its leaf to the root of all base images, the lowest first.
    """

    place: int
    image: Pixels = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class SameImages:
    """What the thorough question asked and was answered.

    Attributes:
        bases: the images that marks were put on, by their place.
        scores: float64 array of shape (rounds, marks, classes), NaN where there was no answer.
    """

    bases: tuple[BaseOpening, ...]
    scores: Scores = field(repr=False)


def check_thorough_size(spec: Spec) -> None:
    """Refuse a thorough question that is too large to be derived and sent again on any machine.

    Raises:
        EvidenceError: if it is.
    """
    size = rounds_of(spec) * spec.num_marks * math.prod(spec.shape)
    if size > MAX_NUMBERS:
        raise EvidenceError(
            f"Evidence of a thorough question takes triggers of at most {MAX_NUMBERS} numbers in "
            f"all, not {size}."
        )


def places(spec: Spec, slot: int, indices: Sequence[int]) -> list[int]:
    """Where the base image of each mark stands in one round."""
    return [index % spec.base_groups * spec.base_per_group + slot for index in indices]


def open_bases(key: WatermarkKey, first: int) -> tuple[BaseOpening, ...]:
    """Open the base images that the marks from `first` on are put on."""
    spec = key.spec
    pool = key.base_images.reshape(-1, *spec.base_shape[2:])
    leaves = [base_leaf(place, image.tobytes()) for place, image in enumerate(pool)]
    return tuple(
        BaseOpening(place, pool[place], merkle_path(leaves, place))
        for place in _all_places(spec, first)
    )


def check_same_images(same: SameImages, openings: Sequence[Opening], spec: Spec) -> None:
    """Check that all marks were put on the images that belong there, and that all have scores.

    Raises:
        EvidenceError: if not.
    """
    check_thorough_size(spec)
    first = openings[0].index
    if len(openings) != spec.num_marks - first:
        raise EvidenceError(f"{len(openings)} marks were asked thoroughly, not all from {first} on")
    expected = (rounds_of(spec), len(openings), spec.num_classes)
    if same.scores.shape != expected:
        raise EvidenceError(f"scores of the shape {same.scores.shape}, not {expected}")
    if [base.place for base in same.bases] != _all_places(spec, first):
        raise EvidenceError("marks were put on other images than those that belong there")
    count = spec.base_groups * spec.base_per_group
    for base in same.bases:
        bottom = base_leaf(base.place, base.image.tobytes())
        root = root_above(bottom, base.place, count, base.path)
        if root != bytes.fromhex(spec.base_root):
            raise EvidenceError(f"base image {base.place} is not the committed one")


def rounds_again(
    same: SameImages,
    openings: Sequence[Opening],
    spec: Spec,
    commitment: bytes,
    value_range: ValueRange,
) -> Iterator[TriggerSet]:
    """Derive the triggers of the thorough question, round by round.

    Raises:
        InvalidArgumentError: if the text of the content scheme cannot be written.
    """
    images = {base.place: base.image for base in same.bases}
    indices = [opening.index for opening in openings]
    for slot in range(rounds_of(spec)):
        placed = zip(openings, places(spec, slot, indices), strict=True)
        moved = [replace(opening, base=images[place]) for opening, place in placed]
        yield triggers_of(moved, spec, commitment, value_range)


def same_scores(kept: Scores, read: Scores | None) -> bool:
    """Whether two machines read the same numbers."""
    return read is not None and np.array_equal(kept, read, equal_nan=True)


def _all_places(spec: Spec, first: int) -> list[int]:
    indices = range(first, spec.num_marks)
    rounds = range(rounds_of(spec))
    return sorted({place for slot in rounds for place in places(spec, slot, indices)})
