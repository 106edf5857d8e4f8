"""Writes images as JSON.

Triggers live on the grid of 0..255, so there are only 256 different numbers. Each is formatted once
and padded with spaces to the same width: then all numbers stand at regular distances, and a batch
is written by putting numbers into a template, without a loop over pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tfmark.pixels import Pixels


class ImageWriter:
    """Writes images whose pixels are sent as certain numbers.

    Args:
        levels: array of shape (256,), the number that each level of 0..255 is sent as. Floats are
            written in the shortest form that reads back as the same number.
    """

    def __init__(self, levels: npt.NDArray[np.generic]):
        texts = [str(level).encode() for level in levels]
        width = max(map(len, texts))
        self._numbers = np.array([text.ljust(width) for text in texts], np.bytes_)

    def write(
        self,
        images: Pixels,
        before: bytes = b"",
        after: bytes = b"",
        head: bytes = b"",
        tail: bytes = b"",
    ) -> bytes:
        """Write images of shape (n, ...) as a list of n arrays.

        Args:
            images: the images, in the shape in which they are sent.
            before: what stands before each of them.
            after: what stands behind each of them.
            head: what stands before the list.
            tail: what stands behind the list.
        """
        width = self._numbers.itemsize
        shape = images.shape[1:]
        template, strides = _template(shape, width, before, after)
        text = np.empty((len(images), len(template)), np.uint8)
        text[:] = template
        places = np.ndarray(
            images.shape, f"V{width}", text, len(before) + len(shape), (len(template), *strides)
        )
        places[...] = np.take(self._numbers.view(places.dtype), images)
        return b"".join((head, b"[", text.reshape(-1)[:-1].data, b"]", tail))


@lru_cache(maxsize=8)
def _template(
    shape: tuple[int, ...], width: int, before: bytes, after: bytes
) -> tuple[npt.NDArray[np.uint8], tuple[int, ...]]:
    """The text of one image with blanks for its numbers, and their distances along each axis."""
    text = b" " * width
    strides: list[int] = []
    for side in reversed(shape):
        strides.insert(0, len(text) + 1)
        text = b"[" + b",".join([text] * side) + b"]"
    return np.frombuffer(before + text + after + b",", np.uint8), tuple(strides)
