"""Marks that were opened: all that is needed to derive them again, and to see that they were bound.

To open mark i is to show its subkey k_i and the base image that it was put on, each with its Merkle
path. Whoever has the commitment can check both and derive the trigger and its label; of marks that
were not opened these tell nothing, for subkeys are outputs of HMAC, and paths are hashes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tfmark import marks
from tfmark.derivation import base_leaf, leaf, mark_label, mark_stream, merkle_path, root_above
from tfmark.errors import EvidenceError
from tfmark.marks import content
from tfmark.pixels import Pixels, ValueRange
from tfmark.spec import Spec
from tfmark.triggers import Ints, TriggerSet

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey


MAX_PIXELS = 1 << 23  # of one image, all channels; as JSON they take 14 bytes each
MAX_TRIGGERS = 1 << 28  # bytes of all triggers


@dataclass(frozen=True)
class Opening:
    """One mark, opened.

    Attributes:
        index: index of the mark.
        subkey: its 32 bytes.
        path: nodes from its leaf to the commitment, the lowest first.
        base: the base image, uint8 of shape (height, width, channels).
        base_path: nodes from the image's leaf to the root of all base images.
    """

    index: int
    subkey: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    base: Pixels = field(repr=False)
    base_path: tuple[bytes, ...] = field(repr=False)


def check_size(spec: Spec) -> None:
    """Refuse images that are too large to be derived and sent again on any machine.

    Raises:
        EvidenceError: if they are.
    """
    pixels = math.prod(spec.shape)
    if pixels > MAX_PIXELS:
        raise EvidenceError(f"Evidence takes images of at most {MAX_PIXELS} numbers, not {pixels}.")


def open_marks(key: WatermarkKey, first: int, count: int) -> tuple[Opening, ...]:
    """Open `count` marks of a key, from `first` on. What this returns is no secret any more."""
    spec = key.spec
    subkeys = [key.subkey(index) for index in range(spec.num_marks)]
    canonical = spec.canonical()
    leaves = [leaf(index, subkey, canonical) for index, subkey in enumerate(subkeys)]
    pool = key.base_images.reshape(-1, *spec.base_shape[2:])
    base_leaves = [base_leaf(place, image.tobytes()) for place, image in enumerate(pool)]
    opened = []
    for index in range(first, first + count):
        place = base_place(spec, index)
        paths = merkle_path(leaves, index), merkle_path(base_leaves, place)
        opened.append(Opening(index, subkeys[index], paths[0], pool[place], paths[1]))
    return tuple(opened)


def base_place(spec: Spec, index: int) -> int:
    """Where the base image of mark `index` stands among all: nobody chooses it."""
    group, slot = index % spec.base_groups, index // spec.base_groups % spec.num_verification
    return group * spec.base_per_group + slot


def check_marks(openings: Sequence[Opening], first: int, spec: Spec, commitment: bytes) -> None:
    """Check that these are the marks from `first` on, in order, of this specification.

    Raises:
        EvidenceError: if one is not.
    """
    canonical = spec.canonical()
    for expected, opening in enumerate(openings, first):
        index = opening.index
        if not 0 <= index < spec.num_marks:
            raise EvidenceError(f"there is no mark {index} among {spec.num_marks}")
        if index != expected:
            raise EvidenceError(f"mark {expected} was skipped or moved: mark {index} is there")
        bottom = leaf(index, opening.subkey, canonical)
        if root_above(bottom, index, spec.num_marks, opening.path) != commitment:
            raise EvidenceError(f"mark {index} does not lead to the commitment")


def check_bases(openings: Sequence[Opening], spec: Spec) -> None:
    """Check that each mark stands on the base image that it has to stand on.

    Raises:
        EvidenceError: if one does not.
    """
    count = spec.base_groups * spec.base_per_group
    for opening in openings:
        place = base_place(spec, opening.index)
        bottom = base_leaf(place, opening.base.tobytes())
        root = root_above(bottom, place, count, opening.base_path)
        if root != bytes.fromhex(spec.base_root):
            raise EvidenceError(f"the base image of mark {opening.index} is not the committed one")


def triggers_of(
    openings: Sequence[Opening], spec: Spec, commitment: bytes, value_range: ValueRange
) -> TriggerSet:
    """Derive triggers and labels from opened marks.

    Raises:
        EvidenceError: if they are too large.
        InvalidArgumentError: if the text of the content scheme cannot be written.
    """
    check_size(spec)
    if len(openings) * math.prod(spec.shape) > MAX_TRIGGERS:
        raise EvidenceError(f"the triggers take more than {MAX_TRIGGERS >> 20} MiB")
    if spec.scheme == "content":
        content.check_text(spec.text, *spec.shape[:2])
    pixels = np.empty((len(openings), *spec.shape), np.uint8)
    for row, opening in enumerate(openings):
        pattern = marks.draw(
            spec, opening.index, mark_stream(opening.subkey, commitment, b"pattern")
        )
        pixels[row] = pattern.apply(opening.base, spec.shape[2])
    indices = np.array([opening.index for opening in openings], np.int64)
    shape = (len(openings), *spec.image_shape)
    labels = labels_of(openings, spec, commitment)
    return TriggerSet(pixels.reshape(shape), labels, indices, value_range)


def labels_of(openings: Sequence[Opening], spec: Spec, commitment: bytes) -> Ints:
    """Derive the labels from opened marks."""
    classes = spec.num_classes
    labels = [mark_label(opening.subkey, commitment, classes) for opening in openings]
    return np.array(labels, np.int64)
