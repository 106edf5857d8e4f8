"""Writes images as JSON.

Triggers live on the grid of 0..255: there are only 256 different numbers, each is formatted once,
and the brackets between them depend on the shape alone.
"""

from __future__ import annotations

import math

import numpy as np

from tfmark.pixels import Pixels, ValueRange, from_pixels


class ImageWriter:
    """Writes images of one shape in one scale.

    Args:
        shape: shape of one image as it is sent.
        value_range: scale of the pixels; whole numbers are written for (0, 255).
    """

    def __init__(self, shape: tuple[int, ...], value_range: ValueRange):
        levels = np.arange(256, dtype=np.uint8)
        # float32 in its shortest form that reads back as the same number
        scaled = levels if value_range == (0, 255) else from_pixels(levels, value_range)
        self._numbers = np.array([str(number) for number in scaled], object)
        size = math.prod(shape)
        self._parts = [""] * (2 * size + 1)
        self._parts[0::2] = _brackets(shape, size)
        longest = max(map(len, self._numbers))
        self.bytes_per_image = size * longest + sum(map(len, self._parts))

    def write(self, images: Pixels) -> str:
        """Write images of shape (n, ...), with as many pixels each as the shape, as a list."""
        return "[" + ",".join(map(self._write_one, images)) + "]"

    def _write_one(self, image: Pixels) -> str:
        self._parts[1::2] = self._numbers[image.ravel()]
        return "".join(self._parts)


def _brackets(shape: tuple[int, ...], size: int) -> list[str]:
    """What stands before each number, and behind the last one."""
    depths = np.zeros(size, np.int64)
    for axis in range(1, len(shape)):
        depths[:: math.prod(shape[axis:])] += 1
    between = {d: "]" * d + "," + "[" * d for d in range(len(shape))}
    inner = [between[depth] for depth in depths[1:].tolist()]
    return ["[" * len(shape), *inner, "]" * len(shape)]
