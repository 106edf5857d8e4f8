"""What a key is made of, and what a suspect is asked: marks and sets of triggers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tfmark.marks.affine import Affine
from tfmark.pixels import Pixels, ValueRange, from_pixels

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mark:
    """One secret change of an image, with one secret label.

    Attributes:
        index: position in the key; marks are opened in this order.
        label: class that a watermarked model answers, 0 to `num_classes - 1`.
        pattern: the change, as `scale` and `shift` on the grid of 0..255.
    """

    index: int
    label: int = field(repr=False)
    pattern: Affine = field(repr=False)


@dataclass(frozen=True, eq=False)
class TriggerSet:
    """Some triggers, with their labels and the index of the mark of each.

    Attributes:
        pixels: uint8 array of shape (n, *image_shape), the triggers on the grid of 0..255.
        labels: int64 array of shape (n,), the secret labels.
        marks: int64 array of shape (n,), the index of each trigger's mark.
        value_range: scale of the training pipeline.
    """

    pixels: Pixels = field(repr=False)
    labels: Ints = field(repr=False)
    marks: Ints
    value_range: ValueRange

    @cached_property
    def images(self) -> npt.NDArray[np.float32]:
        """The triggers in the scale of the training pipeline, float32 of shape (n, ...)."""
        return from_pixels(self.pixels, self.value_range)

    def __len__(self) -> int:
        return len(self.pixels)
