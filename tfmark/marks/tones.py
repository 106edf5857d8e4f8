"""Pairs of colours, paper and ink, that can be told apart on any background."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tone = npt.NDArray[np.float32]

_GREY = ((0, 255), (255, 0), (0, 128), (255, 128), (128, 255), (128, 0))


def tones(channels: int) -> list[tuple[Tone, Tone]]:
    """All pairs of paper and ink for images with this many channels.

    Returns:
        A list of pairs of float32 arrays of shape (channels,), levels 0 to 255: six pairs for grey
        images; otherwise the corners of the colour cube, each with its complement.
    """
    if channels == 1:
        return [(_tone([paper]), _tone([ink])) for paper, ink in _GREY]
    count = 2 ** min(channels, 3)
    corners = [[255 * (corner >> c % 3 & 1) for c in range(channels)] for corner in range(count)]
    return [(_tone(paper), 255 - _tone(paper)) for paper in corners]


def _tone(levels: list[int]) -> Tone:
    return np.array(levels, np.float32)
