"""Pictures of base images, marks and triggers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tfmark.key import WatermarkKey
from tfmark.pixels import Pixels

PER_BAND = 8  # marks beside each other
TILE = 112  # pixels a side of one image, about
GAP = 8
MARGIN = 96  # for the names of the rows
PAPER, INK = (255, 255, 255), (40, 40, 40)


def draw_marks(key: WatermarkKey, path: str | os.PathLike[str], count: int = PER_BAND) -> None:
    """Draw the first marks of a key: base images, marks, triggers, and their labels. All secret.

    Args:
        key: the `WatermarkKey`.
        path: where to write the PNG.
        count: number of marks.
    """
    count = min(count, key.spec.num_marks)
    triggers = key.triggers()
    pixels = triggers.pixels.reshape(-1, *key.spec.shape)
    bands = []
    for first in range(0, count, PER_BAND):
        indices = range(first, min(first + PER_BAND, count))
        rows = {
            "base image": [_base(key, index) for index in indices],
            "mark": [_mark(key, index) for index in indices],
            "trigger": [pixels[index] for index in indices],
        }
        bands.append(_band(rows, [f"mark {i}: answer {triggers.labels[i]}" for i in indices]))
    sheet = Image.new("RGB", (bands[0].width, sum(band.height for band in bands)), PAPER)
    top = 0
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    sheet.save(Path(path))


def _base(key: WatermarkKey, index: int) -> Pixels:
    groups, kept = key.spec.base_groups, key.spec.num_verification
    base: Pixels = key.base_images[index % groups, index // groups % kept]
    return base


def _mark(key: WatermarkKey, index: int) -> Pixels:
    """The mark by itself, as it looks on a grey image (of the unrelated scheme, on its own)."""
    grey = np.full((*key.spec.shape[:2], 1), 128, np.uint8)
    base = _base(key, index) if key.spec.scheme == "unrelated" else grey
    return key.marks[index].pattern.apply(base, key.spec.shape[2])


def _band(rows: dict[str, list[Pixels]], labels: list[str]) -> Image.Image:
    height, width = next(iter(rows.values()))[0].shape[:2]
    zoom = max(1, TILE // max(height, width))
    wide, high = width * zoom + GAP, height * zoom + GAP
    font = ImageFont.load_default(11)
    sheet = Image.new("RGB", (MARGIN + len(labels) * wide, GAP + len(rows) * high + 24), PAPER)
    pen = ImageDraw.Draw(sheet)
    for r, (name, images) in enumerate(rows.items()):
        pen.text((GAP, GAP + r * high + high // 2 - 10), name, INK, font)
        for c, pixels in enumerate(images):
            image = _image(pixels).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
            sheet.paste(image, (MARGIN + c * wide, GAP + r * high))
    for c, label in enumerate(labels):
        pen.text((MARGIN + c * wide, GAP + len(rows) * high + 2), label, INK, font)
    return sheet


def _image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    channels = pixels.shape[-1]
    if channels in (3, 4):
        return Image.fromarray(pixels)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
