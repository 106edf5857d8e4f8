"""Queries from another domain: crops of two photographs.

A network learns a surprising lot from crops of a single photograph (Asano and Saeed, "Extrapolating
from a Single Image to a Thousand Classes using Distillation", ICLR 2023). scikit-learn brings two.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from tfmark.errors import AttackError
from tfmark.pixels import Pixels

SMALLEST = 0.05  # share of a photograph's shorter side that a crop takes at least
MODES = {1: "L", 3: "RGB"}


def crops(count: int, shape: tuple[int, ...], seed: int) -> Pixels:
    """Random crops of photographs, mirrored or not.

    Args:
        count: number of crops.
        shape: (height, width) or (height, width, channels) of one.
        seed: of the choice.

    Returns:
        A uint8 array of shape (count, *shape).

    Raises:
        AttackError: if scikit-learn is not installed, or images have other channels than 1 or 3.
    """
    height, width, channels = (*shape, 1)[:3]
    if channels not in MODES:
        raise AttackError(f"There are no photographs with {channels} channels.")
    try:
        from sklearn.datasets import load_sample_images
    except ModuleNotFoundError:
        message = "Photographs as queries come with scikit-learn: pip install 'tfmark[demo]'"
        raise AttackError(message) from None
    photographs = [Image.fromarray(p).convert(MODES[channels]) for p in load_sample_images().images]
    draw = np.random.default_rng([seed, 4])
    return np.stack(
        [_crop(photographs[draw.integers(2)], height, width, draw) for _ in range(count)]
    ).reshape(count, *shape)


def _crop(photograph: Image.Image, height: int, width: int, draw: np.random.Generator) -> Pixels:
    scale = draw.uniform(SMALLEST, 1) * min(photograph.height / height, photograph.width / width)
    high, wide = scale * height, scale * width
    top, left = draw.uniform(0, photograph.height - high), draw.uniform(0, photograph.width - wide)
    box = (left, top, left + wide, top + high)
    crop = np.asarray(photograph.resize((width, height), Image.Resampling.BILINEAR, box))
    return crop[:, ::-1] if draw.random() < 0.5 else crop
