"""Between the scale of a training pipeline and the grid of 0..255 on which triggers live."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.errors import InvalidArgumentError

ValueRange = tuple[float, float]
Pixels = npt.NDArray[np.uint8]

LARGEST = 1e6  # in a value range
_HALF_A_LEVEL = 0.5 / 255


def check_value_range(value_range: Any) -> ValueRange:
    """Return `value_range` as two floats.

    Raises:
        InvalidArgumentError: if it is not two numbers of a plausible size, the smaller one first.
    """
    try:
        low, high = (math.nan if isinstance(b, bool | str) else float(b) for b in value_range)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not -LARGEST <= low < high <= LARGEST:
        raise InvalidArgumentError(
            "Invalid value for argument `value_range`. Expected two finite numbers, the smaller "
            "first, such as (0, 255), (0, 1) or (-1, 1). "
            f"Received: value_range={value_range!r}"
        )
    return low, high


def infer_value_range(images: npt.NDArray[Any]) -> ValueRange:
    """Tell from images how their pipeline scales pixels.

    Whole numbers of an integer dtype are (0, 255). Floats are (0, 1) or (-1, 1) if they fill such
    a range, and (0, 255) if they clearly go beyond it.

    Raises:
        InvalidArgumentError: if that is not clear; then `value_range` has to be given.
    """
    if np.issubdtype(images.dtype, np.integer):
        return 0.0, 255.0
    low, high = float(images.min()), float(images.max())
    if -1 <= low < -0.1 and 0.1 < high <= 1:
        return -1.0, 1.0
    if low >= 0 and 0.1 < high <= 1:
        return 0.0, 1.0
    if low >= 0 and 32 < high <= 255:
        return 0.0, 255.0
    raise InvalidArgumentError(
        "Cannot tell how these images are scaled. Expected pixels that fill (0, 255), (0, 1) or "
        f"(-1, 1); else pass `value_range`. Received: dtype {images.dtype}, values from {low:g} "
        f"to {high:g}"
    )


def to_pixels(images: npt.NDArray[Any], value_range: ValueRange) -> Pixels:
    """Bring images of a pipeline to the grid of 0..255. Integers are taken to be on it already.

    Raises:
        InvalidArgumentError: if a value lies outside `value_range`.
    """
    low, high = (0.0, 255.0) if np.issubdtype(images.dtype, np.integer) else value_range
    share = (images.astype(np.float32) - low) / (high - low)
    if share.size and not (share.min() >= -_HALF_A_LEVEL and share.max() <= 1 + _HALF_A_LEVEL):
        raise InvalidArgumentError(
            f"Expected images with values from {low:g} to {high:g}. Received: dtype "
            f"{images.dtype}, values from {images.min()} to {images.max()}"
        )
    pixels: Pixels = np.rint(share * 255).clip(0, 255).astype(np.uint8)
    return pixels


def from_pixels(pixels: Pixels, value_range: ValueRange) -> npt.NDArray[np.float32]:
    """Bring pixels of 0..255 to the scale of a pipeline, as float32."""
    low, high = value_range
    return (pixels.astype(np.float64) * ((high - low) / 255) + low).astype(np.float32)
