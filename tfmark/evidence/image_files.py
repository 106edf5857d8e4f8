"""Opened marks and clean images as members of a file of evidence: pixels as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmark.errors import EvidenceError
from tfmark.evidence.facts import only, read_facts, take, take_hex, unhex, write_facts
from tfmark.evidence.openings import Opening
from tfmark.evidence.record import CleanImages
from tfmark.evidence.same_images import BaseOpening, SameImages
from tfmark.spec import Spec

_OPENING = ("index", "subkey", "path", "base_path")
_MARKS, _BASES, _CLEAN = "marks.json", "base-images.bin", "clean-images.bin"
_SAME, _SAME_PIXELS, _SCORES = "thorough.json", "thorough-images.bin", "thorough-scores.bin"


def write_marks(openings: tuple[Opening, ...]) -> dict[str, bytes]:
    """The members for opened marks."""
    marks = [
        {
            "index": opening.index,
            "subkey": opening.subkey.hex(),
            "path": [node.hex() for node in opening.path],
            "base_path": [node.hex() for node in opening.base_path],
        }
        for opening in openings
    ]
    bases = b"".join(opening.base.tobytes() for opening in openings)
    return {_MARKS: write_facts({"marks": marks}), _BASES: bases}


def read_marks(members: Mapping[str, bytes], spec: Spec) -> tuple[Opening, ...]:
    """The opened marks of such members.

    Raises:
        EvidenceError: if they are not as `write_marks` makes them.
    """
    facts = read_facts(members[_MARKS], _MARKS)
    only(facts, ("marks",))
    marks = take(facts, "marks", list)
    shape = spec.base_shape[2:]
    bases = _images(members[_BASES], len(marks), shape)
    if not marks:
        raise EvidenceError("no mark is opened")
    openings = []
    for mark, base in zip(marks, bases, strict=True):
        only(mark, _OPENING)
        paths = [
            tuple(unhex(node, 32, name) for node in take(mark, name, list))
            for name in ("path", "base_path")
        ]
        subkey = take_hex(mark, "subkey", 32)
        openings.append(Opening(take(mark, "index", int), subkey, paths[0], base, paths[1]))
    return tuple(openings)


def write_same_images(same: SameImages | None) -> dict[str, bytes]:
    """The members for the thorough question."""
    if same is None:
        return {}
    bases = [{"place": b.place, "path": [node.hex() for node in b.path]} for b in same.bases]
    return {
        _SAME: write_facts({"bases": bases, "scores": list(same.scores.shape)}),
        _SAME_PIXELS: b"".join(base.image.tobytes() for base in same.bases),
        _SCORES: same.scores.astype("<f8").tobytes(),
    }


def read_same_images(members: Mapping[str, bytes], spec: Spec) -> SameImages | None:
    """The thorough question of such members, if there was one.

    Raises:
        EvidenceError: if they are not as `write_same_images` makes them.
    """
    if _SAME not in members:
        return None
    facts = read_facts(members[_SAME], _SAME)
    only(facts, ("bases", "scores"))
    shape, found = take(facts, "scores", list), take(facts, "bases", list)
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise EvidenceError("scores are of no shape")
    if len(members[_SCORES]) != 8 * math.prod(shape):
        raise EvidenceError(f"scores of {len(members[_SCORES])} bytes, not {8 * math.prod(shape)}")
    scores = np.frombuffer(members[_SCORES], "<f8").reshape(shape).astype(np.float64)
    images = _images(members[_SAME_PIXELS], len(found), spec.base_shape[2:])
    bases = []
    for base, image in zip(found, images, strict=True):
        only(base, ("place", "path"))
        path = tuple(unhex(node, 32, "path") for node in take(base, "path", list))
        bases.append(BaseOpening(take(base, "place", int), image, path))
    return SameImages(tuple(bases), scores)


def write_clean(clean: CleanImages | None) -> tuple[list[int] | None, dict[str, bytes]]:
    """The labels of clean images, and the member for them."""
    if clean is None:
        return None, {}
    return clean.labels.tolist(), {_CLEAN: clean.images.tobytes()}


def read_clean(labels: Any, members: Mapping[str, bytes], spec: Spec) -> CleanImages | None:
    """The clean images of such labels and members.

    Raises:
        EvidenceError: if they are not as `write_clean` makes them.
    """
    if labels is None:
        return None
    if not (
        isinstance(labels, list)
        and all(type(label) is int and 0 <= label < spec.num_classes for label in labels)
    ):
        raise EvidenceError("a class of a clean image is no class id")
    images = _images(members[_CLEAN], len(labels), spec.image_shape)
    return CleanImages(images, np.array(labels, np.int64))


def _images(data: bytes, count: int, shape: tuple[int, ...]) -> Any:
    expected = count * int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise EvidenceError(f"images of {len(data)} bytes, not {expected}")
    return np.frombuffer(data, np.uint8).reshape(count, *shape)
