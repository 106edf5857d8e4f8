"""The content scheme: the owner's text on the image (Zhang et al., WM_content).

The text stands on a plate of a contrasting tone. Without it black ink would vanish on a black
background, and the model could not learn the mark.
"""

from __future__ import annotations

import numpy as np

from tfmark.derivation import Stream
from tfmark.errors import InvalidArgumentError
from tfmark.marks.affine import Affine, Array
from tfmark.marks.font import write
from tfmark.marks.tones import tones
from tfmark.spec import Spec

TRIES = 64  # to place two plates side by side


def draw(spec: Spec, index: int, stream: Stream) -> Affine:
    """Draw the text twice, each time with its own tones, direction, size and place.

    Two plates tell marks apart much better than one: there are few tones, directions and sizes on a
    small grey image. They do not cover each other, unless there is no room.
    """
    height, width, channels = spec.shape
    for _ in range(TRIES):
        plates = [_plate(spec, stream) for _ in range(2)]
        places = [_place(plate, spec, stream) for plate in plates]
        covered = np.zeros((height, width), np.uint8)
        for place in places:
            covered[place] += 1
        if covered.max() == 1:
            break
    scale = np.ones((height, width, 1), np.float32)
    shift = np.zeros((height, width, channels), np.float32)
    for plate, place in zip(plates, places, strict=True):
        scale[place], shift[place] = 0, plate
    return Affine(scale, shift)


def _place(plate: Array, spec: Spec, stream: Stream) -> tuple[slice, slice]:
    """Draw where a plate stands: its rows and columns."""
    top = stream.below(spec.shape[0] - plate.shape[0] + 1)
    left = stream.below(spec.shape[1] - plate.shape[1] + 1)
    return slice(top, top + plate.shape[0]), slice(left, left + plate.shape[1])


def _plate(spec: Spec, stream: Stream) -> Array:
    """Draw the text on its plate, in levels of 0 to 255."""
    height, width, channels = spec.shape
    ink = np.pad(write(spec.text), 1)
    choices = [(turns, size) for turns in range(4) for size in _sizes(ink, turns, height, width)]
    turns, size = choices[stream.below(len(choices))]
    ink = np.rot90(ink, turns).repeat(size, axis=0).repeat(size, axis=1)
    paper_tone, ink_tone = tones(channels)[stream.below(len(tones(channels)))]
    return np.where(ink[..., np.newaxis], ink_tone, paper_tone)


def check_text(text: str, height: int, width: int) -> None:
    """Refuse a text that cannot be written on an image of this size.

    Raises:
        InvalidArgumentError: if the text is too long or has characters that the font lacks.
    """
    ink = np.pad(write(text), 1)
    if not any(_sizes(ink, turns, height, width) for turns in range(4)):
        raise InvalidArgumentError(
            f"The image is too small for the text. Expected at least {ink.shape[0]}x{ink.shape[1]} "
            f"pixels for {text!r}. Received: {height}x{width} pixels"
        )


def _sizes(ink: np.ndarray[tuple[int, int], np.dtype[np.bool_]], turns: int, height: int,
           width: int) -> range:  # fmt: skip
    """Whole sizes at which the text fits, from half the largest one up."""
    rows, columns = ink.shape if turns % 2 == 0 else ink.shape[::-1]
    largest = min(height // rows, width // columns)
    return range(max(1, (largest + 1) // 2), largest + 1)
