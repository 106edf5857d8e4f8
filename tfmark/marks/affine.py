"""What every mark is: an affine change of an image, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tfmark.pixels import Pixels

Array = npt.NDArray[np.float32]

# Strength of the faintest marks in a robust embedding; verification asks at 1. Foreign images are
# told apart by their colours alone, and faint ones look like those of another mark.
FAINTEST = {"content": 0.3, "noise": 0.3}
FAINT_SHARE = 0.25  # of the triggers of a robust embedding: with more, marks are learned later


def fading(scheme: str) -> tuple[float, float]:
    """Bounds to draw strengths between, evenly; what is above 1 is a mark at full strength."""
    faintest = FAINTEST.get(scheme, 1.0)
    return faintest, faintest + (1 - faintest) / FAINT_SHARE


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

    def faded(self, strength: float) -> Affine:
        """The same mark, fainter: at strength 0 it leaves the image as it is."""
        return Affine(1 + (self.scale - 1) * strength, self.shift * strength)
