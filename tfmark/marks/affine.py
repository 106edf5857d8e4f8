"""What every mark is: an affine change of an image, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfmark.pixels import Pixels

Array = npt.NDArray[np.float32]


class Affine(NamedTuple):
    """`trigger = clip(scale * base + shift)` on the grid of 0..255.

    Args:
        scale: float32 array that broadcasts to (height, width, channels).
        shift: float32 array that broadcasts to (height, width, channels).
    """

    scale: Array
    shift: Array

    def apply(self, base: Pixels, channels: int) -> Pixels:
        """Put the mark on base images of shape (..., height, width, channels or 1)."""
        marked = self.scale * base.astype(np.float32) + self.shift
        marked = np.broadcast_to(marked, (*marked.shape[:-1], channels))
        pixels: Pixels = np.rint(marked.clip(0, 255)).astype(np.uint8)
        return pixels
