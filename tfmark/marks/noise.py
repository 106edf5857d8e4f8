"""The noise scheme: a fixed secret noise pattern is added to the image (Zhang et al., WM_noise)."""

from __future__ import annotations

import numpy as np

from tfmark.derivation import Stream
from tfmark.marks.affine import Affine
from tfmark.spec import Spec

CELLS = 8  # noise of this many cells a side survives resizing, and small kernels can learn it


def draw(spec: Spec, index: int, stream: Stream) -> Affine:
    """Draw a pattern that is normal (the sum of four uniform bytes) with a deviation of 65 levels.

    Images of 28 pixels and more get square cells of equal noise, about `CELLS` to the shorter side.
    """
    height, width, channels = spec.shape
    cell = max(1, min(height, width) // CELLS)
    rows, columns = -(-height // cell), -(-width // cell)
    uniform = np.frombuffer(stream.read(4 * rows * columns * channels), np.uint8)
    normal = uniform.reshape(rows, columns, channels, 4).sum(axis=-1, dtype=np.int32) - 510
    pattern = (normal * 7 // 16).repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return Affine(scale=np.ones((1, 1, 1), np.float32), shift=pattern.astype(np.float32))
