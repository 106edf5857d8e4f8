"""What a thief's service may do to each image before the model sees it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from tfmark.attacks.in_front import InputTransformation
from tfmark.attacks.settings import check_count, check_positive, check_share
from tfmark.base_images import resize
from tfmark.errors import InvalidArgumentError
from tfmark.pixels import Pixels


@dataclass(frozen=True)
class Jpeg(InputTransformation):
    """Compress as JPEG.

    Example:
    ```python
    suspect = tfmark.attacks.Jpeg(quality=45)(model, (x_test, y_test))
    ```

    Args:
        quality: 1 to 95. Defaults to 75.
    """

    quality: int = 75

    def __post_init__(self) -> None:
        check_count("quality", self.quality)
        if self.quality > 95:
            raise InvalidArgumentError(
                f"Expected a JPEG quality from 1 to 95. Received: quality={self.quality}"
            )

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        if image.shape[-1] == 3:
            return np.asarray(self._compressed(Image.fromarray(image)))
        return _each_band(image, self._compressed)

    def _compressed(self, image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=self.quality)
        return Image.open(file)

    def __str__(self) -> str:
        return f"quality {self.quality}"


@dataclass(frozen=True)
class Blur(InputTransformation):
    """Blur with a Gaussian.

    Example:
    ```python
    suspect = tfmark.attacks.Blur(std=0.7)(model, (x_test, y_test))
    ```

    Args:
        std: its standard deviation in pixels. Defaults to 0.5.
    """

    std: float = 0.5

    def __post_init__(self) -> None:
        check_positive("std", self.std)

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        blur = ImageFilter.GaussianBlur(self.std)
        return _each_band(image, lambda band: band.filter(blur))

    def __str__(self) -> str:
        return f"Gaussian, {self.std:g} pixels"


@dataclass(frozen=True)
class InputNoise(InputTransformation):
    """Add Gaussian noise.

    Example:
    ```python
    suspect = tfmark.attacks.InputNoise(std=0.05)(model, (x_test, y_test))
    ```

    Args:
        std: its standard deviation, as a share of the range of pixels. Defaults to 0.01.
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        check_positive("std", self.std)

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        return _to_grid(image + 255 * self.std * draw.standard_normal(image.shape))

    def __str__(self) -> str:
        return f"Gaussian, {self.std:.0%} of the range"


@dataclass(frozen=True)
class BitDepth(InputTransformation):
    """Keep fewer levels.

    Example:
    ```python
    suspect = tfmark.attacks.BitDepth(bits=3)(model, (x_test, y_test))
    ```

    Args:
        bits: bits for each value, 1 to 7. Defaults to 4.

    Reference:
        Xu et al., "Feature Squeezing", NDSS 2018.
    """

    bits: int = 4

    def __post_init__(self) -> None:
        check_count("bits", self.bits)
        if self.bits > 7:
            raise InvalidArgumentError(f"Expected 1 to 7 bits. Received: bits={self.bits}")

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        step = 255 / (2**self.bits - 1)
        return _to_grid(np.rint(image / step) * step)

    def __str__(self) -> str:
        return f"{self.bits} bit{'s' * (self.bits > 1)}"


@dataclass(frozen=True)
class Resize(InputTransformation):
    """Make images smaller and bring them back to their size.

    Example:
    ```python
    suspect = tfmark.attacks.Resize(factor=0.5)(model, (x_test, y_test))
    ```

    Args:
        factor: share of each side that is left in between. Defaults to 0.75.
    """

    factor: float = 0.75

    def __post_init__(self) -> None:
        check_share("factor", self.factor)

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        height, width = image.shape[:2]
        smaller = [max(1, round(self.factor * side)) for side in (height, width)]
        return resize(resize(image, *smaller), height, width)

    def __str__(self) -> str:
        return f"to {self.factor:.0%} of each side and back"


@dataclass(frozen=True)
class Flip(InputTransformation):
    """Mirror left and right.

    A service that does so to all images is asked with `mirrored=True`, which undoes it.

    Example:
    ```python
    suspect = tfmark.attacks.Flip()(model, (x_test, y_test))
    ```
    """

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        return image[:, ::-1]

    def __str__(self) -> str:
        return "left and right"


@dataclass(frozen=True)
class Shift(InputTransformation):
    """Move along both sides, each image to a corner of its own; pixels at the border are repeated.

    Example:
    ```python
    suspect = tfmark.attacks.Shift(share=0.07)(model, (x_test, y_test))
    ```

    Args:
        share: how far, as a share of each side; a pixel at least. Defaults to 0.035, one pixel of
            28 or 32.
    """

    share: float = 0.035

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def apply(self, image: Pixels, draw: np.random.Generator) -> Pixels:
        """See `InputTransformation.apply`."""
        steps = (max(1, round(self.share * side)) for side in image.shape[:2])
        down, right = draw.choice((-1, 1), 2) * [*steps]
        rows, columns = (np.arange(side) for side in image.shape[:2])
        rows, columns = (rows - down).clip(0, rows[-1]), (columns - right).clip(0, columns[-1])
        moved: Pixels = image[rows][:, columns]
        return moved

    def __str__(self) -> str:
        return f"by {self.share:.1%} of each side"


def _each_band(image: Pixels, change: Any) -> Pixels:
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(change(band)) for band in bands], axis=-1)


def _to_grid(values: Any) -> Pixels:
    grid: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return grid
