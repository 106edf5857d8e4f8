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
    """One secret change of an image, with one secret label. `key.marks` has them in order.

    Example:
    ```python
    >>> mark = key.marks[0]
    >>> mark.pattern.shift.shape  # a trigger is clip(scale * image + shift), pixel by pixel
    (8, 8, 1)
    >>> mark  # what is secret is not shown
    Mark(index=0)
    ```

    Attributes:
        index: position in the key; marks are opened in this order.
        label: class that a watermarked model answers, 0 to `num_classes - 1`.
        pattern: the change, as two float32 arrays `scale` and `shift` on the grid of 0..255, which
            broadcast to (height, width, channels).
    """

    index: int
    label: int = field(repr=False)
    pattern: Affine = field(repr=False)


@dataclass(frozen=True, eq=False)
class TriggerSet:
    """Some triggers, with their labels and the index of the mark of each. All of them are secret.

    Example:
    ```python
    >>> triggers = key.triggers()
    >>> len(triggers), triggers.pixels.shape, triggers.pixels.dtype
    (24, (24, 8, 8, 1), dtype('uint8'))
    ```

    Attributes:
        pixels: uint8 array of shape (n, *image_shape), the triggers on the grid of 0..255.
        labels: int64 array of shape (n,), the secret labels.
        marks: int64 array of shape (n,), the index of each trigger's mark.
        value_range: scale of the training pipeline, (lowest, highest).
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
