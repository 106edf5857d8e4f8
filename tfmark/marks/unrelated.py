"""The unrelated scheme: foreign images instead of ordinary ones (Zhang et al., WM_unrelated).

The base images of this scheme are themselves foreign: symbols of an alphabet that nobody uses, or
images of the owner's choice, in groups of one kind each. A mark recolours them, so that a few kinds
of foreign images make many marks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfmark.derivation import Stream
from tfmark.errors import InvalidArgumentError
from tfmark.marks.affine import Affine
from tfmark.marks.tones import tones
from tfmark.pixels import Pixels
from tfmark.spec import Spec

RENDERINGS = 48  # images of each symbol
SYMBOL = 5  # cells a side of a symbol
PLAY = 1  # pixels, at most, by which a symbol is off the middle either way
SHADES = 3  # cells are up to a third of the way from black to white, or from white to black


def draw(spec: Spec, index: int, stream: Stream) -> Affine:
    """Recolour the foreign images: black becomes paper, white becomes ink."""
    looks = tones(spec.shape[2])
    cycle, group = divmod(index, spec.base_groups)
    paper, ink = looks[(cycle + group) % len(looks)]
    return Affine(
        scale=((ink - paper) / 255).reshape(1, 1, -1).astype(np.float32),
        shift=paper.reshape(1, 1, -1),
    )


def max_marks(num_groups: int, channels: int) -> int:
    """How many different marks so many groups of foreign images can make."""
    return num_groups * len(tones(channels))


def render_symbols(height: int, width: int, streams: list[Stream]) -> Pixels:
    """Draw one symbol from each stream, in many renderings.

    A symbol is a square of cells, ink or not. Its renderings differ in place, by a few pixels, and
    in the shade of each cell, so that those kept for verification are new to the model.

    Returns:
        A uint8 array of shape (len(streams), RENDERINGS, height, width, 1).

    Raises:
        InvalidArgumentError: if the images are too small.
    """
    size = (min(height, width) - 2 * PLAY) // SYMBOL
    if size < 1:
        raise InvalidArgumentError(
            f"The image is too small for symbols. Expected at least {SYMBOL + 2 * PLAY}x"
            f"{SYMBOL + 2 * PLAY} pixels. Received: {height}x{width} pixels"
        )
    side = size * SYMBOL
    pool = np.zeros((len(streams), RENDERINGS, height, width, 1), np.uint8)
    for renderings, stream in zip(pool, streams, strict=True):
        ink = np.unpackbits(np.frombuffer(stream.read(4), np.uint8))[: SYMBOL**2]
        for image in renderings:
            shades = np.frombuffer(stream.read(SYMBOL**2), np.uint8) // SHADES
            cells = np.where(ink, 255 - shades, shades).reshape(SYMBOL, SYMBOL)
            top, left = _near_middle(height - side, stream), _near_middle(width - side, stream)
            drawn = cells.repeat(size, axis=0).repeat(size, axis=1)
            image[top : top + side, left : left + side, 0] = drawn
    return pool


def _near_middle(room: int, stream: Stream) -> int:
    play = min(PLAY, room // 2)
    return room // 2 - play + stream.below(2 * play + 1)


def group_by_class(images: Pixels, class_ids: npt.NDArray[np.int64]) -> Pixels:
    """Sort the owner's foreign images into groups of equal size, one for each class id.

    Args:
        images: uint8 array of shape (n, height, width, channels).
        class_ids: integer array of shape (n,).

    Returns:
        A uint8 array of shape (groups, images in a group, height, width, channels).
    """
    groups = [images[class_ids == class_id] for class_id in np.unique(class_ids)]
    smallest = min(map(len, groups))
    return np.stack([group[:smallest] for group in groups])
