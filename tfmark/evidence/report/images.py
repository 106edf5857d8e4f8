"""Images as `data:` addresses: small ones enlarged by the page, large ones made smaller here."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfmark.pixels import Pixels

TILE = 112  # CSS pixels of the longer side, about
BUDGET = 9 << 20  # bytes of all pictures of a page together, before they are compressed
SIDES = 256, 192, 128, 96, 64, 32  # longest sides that pictures are reduced to


class Picture(NamedTuple):
    """One picture.

    Attributes:
        address: PNG in a `data:` address.
        width: in CSS pixels.
        height: in CSS pixels.
    """

    address: str
    width: int
    height: int


def longest_side(count: int) -> int:
    """How large so many pictures may be, for the page not to become too large."""
    return next((side for side in SIDES if count * side * side * 3 <= BUDGET), SIDES[-1])


def picture(pixels: Pixels, longest: int) -> Picture:
    """Show uint8 pixels of shape (height, width, channels), of any size and number of channels.

    Three colours are shown, or the first channel alone where there are fewer than three.
    """
    channels = pixels.shape[2]
    shown = pixels[..., :3] if channels >= 3 else pixels[..., 0]
    image = Image.fromarray(np.ascontiguousarray(shown))
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    width, height = image.size
    zoom = max(1, TILE // max(width, height)) if max(width, height) <= TILE else 1
    scale = min(1.0, TILE / (zoom * max(width, height)))
    sides = (max(1, round(side * zoom * scale)) for side in (width, height))
    return Picture("data:image/png;base64," + base64.b64encode(file.getvalue()).decode(), *sides)
