"""The input of a suspect: in which shape, dtype and scale it takes images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.endpoints.compressed import FORMATS, compress
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.json_images import ImageWriter
from tfmark.endpoints.signature import MAX_RANK, TensorInfo
from tfmark.errors import AnswerError, InvalidArgumentError
from tfmark.pixels import Pixels, ValueRange, from_pixels

MAX_BATCH = 1024
MAX_SIZE = 64 << 20  # bytes of a request that has to hold a fixed batch
_INTEGERS = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class ImageInput:
    """How images are sent.

    Attributes:
        name: name of the input, `None` if it is not known.
        pixels: "float", "integer", "png" or "jpeg".
        dtype: NumPy's name of the dtype that the model has for it.
        shape: shape of one image as it is sent; of files that of the array they stand in.
        channels_first: whether the axis of the channels comes first.
        value_range: scale of floats.
        batch_size: number of images that each request must have, `None` if any will do.
        batched: whether there is an axis for the batch; without one, `batch_size` is 1.
    """

    name: str | None
    pixels: str
    dtype: str
    shape: tuple[int, ...]
    channels_first: bool
    value_range: ValueRange
    batch_size: int | None
    batched: bool = True

    @property
    def is_file(self) -> bool:
        """Whether images are sent as files, not as arrays of numbers."""
        return self.pixels in FORMATS

    @property
    def levels(self) -> npt.NDArray[Any]:
        """Array of shape (256,): the number that each level of 0..255 is sent as."""
        return _levels(self.pixels == "integer", self.value_range)

    @property
    def writer(self) -> ImageWriter:
        """Writes what `arrange` returns as JSON."""
        return _writer(self.pixels == "integer", self.value_range)

    def arrange(self, images: Pixels) -> Pixels:
        """Images of shape (n, *image_shape) in the shape in which they are sent."""
        moved = np.moveaxis(images, -1, 1) if self.channels_first else images
        return moved.reshape(*self.full_shape(len(images)))

    def full_shape(self, num_images: int) -> tuple[int, ...]:
        """The shape of what is sent for so many images."""
        return (num_images, *self.shape) if self.batched else self.shape

    def array(self, images: Pixels) -> npt.NDArray[Any]:
        """Images as the array of numbers that is sent."""
        dtype = np.float32 if self.dtype == "bfloat16" else np.dtype(self.dtype)
        return self.levels.astype(dtype)[self.arrange(images)]

    def files(self, images: Pixels) -> list[bytes]:
        """Images as the files that are sent."""
        return [compress(image, self.pixels) for image in images]


def _levels(integer: bool, value_range: ValueRange) -> npt.NDArray[Any]:
    levels = np.arange(256, dtype=np.uint8)
    return levels if integer else from_pixels(levels, value_range)


@lru_cache(maxsize=8)
def _writer(integer: bool, value_range: ValueRange) -> ImageWriter:
    """One for all endpoints that are asked in the same way."""
    return ImageWriter(_levels(integer, value_range))


def image_input(
    tensor: TensorInfo | None, image_shape: tuple[int, ...], task: Task, dialect: Dialect
) -> ImageInput:
    """Decide how images are sent.

    It is checked before anything is sent: a tensor of the wrong rank can end a real TensorFlow
    Serving, and one of the wrong size may be answered all the same.

    Args:
        tensor: what the model says of its input, `None` if it says nothing.
        image_shape: shape of one image.
        task: how they are scaled.
        dialect: what the caller says; goes first.

    Raises:
        AnswerError: if the model cannot be asked about such images.
        InvalidArgumentError: if an option does not go with how they are sent.
    """
    tensor = tensor or TensorInfo("", "", None)
    pixels = dialect.pixels or _pixels(tensor.dtype)
    if dialect.value_range is not None and pixels != "float":
        raise InvalidArgumentError(
            f"`value_range` is for pixels that are sent as floats. These are sent as {pixels}."
        )
    dtypes = _INTEGERS + _FLOATS if pixels == "integer" else _FLOATS
    dtype = tensor.dtype if tensor.dtype in dtypes else {"integer": "uint8"}.get(pixels, "float32")
    batch_size = None
    inner: tuple[int, ...] | None = None
    batched = tensor.shape is None or not _lacks_batch_axis(tensor.shape, image_shape)
    if tensor.shape is not None and not batched:
        batch_size, inner = 1, tensor.shape
    elif tensor.shape is not None:
        if not tensor.shape:
            raise AnswerError("The model expects a single number, not images.")
        if (
            tensor.shape[0] > MAX_BATCH
            or tensor.shape[0] * json_size(pixels, image_shape) > MAX_SIZE
        ):
            raise AnswerError(
                f"The model expects {tensor.shape[0]} images at once, too many to send."
            )
        batch_size = tensor.shape[0] if tensor.shape[0] > 0 else None
        inner = tensor.shape[1:]
    shape, channels_first = (
        _file_shape(inner, image_shape) if pixels in FORMATS else _array_shape(inner, image_shape)
    )
    return ImageInput(
        name=dialect.input or tensor.name or None,
        pixels=pixels,
        dtype=dtype,
        shape=shape,
        channels_first=channels_first,
        value_range=dialect.value_range or task.value_range,
        batch_size=batch_size,
        batched=batched,
    )


def _pixels(dtype: str) -> str:
    if dtype in (*_FLOATS, ""):
        return "float"
    if dtype in _INTEGERS:
        return "integer"
    if dtype == "string":
        return "png"
    raise AnswerError(f"The model expects {dtype!r}, which images cannot be sent as.")


def json_size(pixels: str, image_shape: tuple[int, ...]) -> int:
    """About how many bytes of JSON an image takes that is sent as such pixels."""
    return math.prod(image_shape) * {"float": 14, "integer": 6}.get(pixels, 2) + 200


def _file_shape(
    inner: tuple[int, ...] | None, image_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], bool]:
    if inner is not None and (len(inner) > MAX_RANK or any(side not in (-1, 1) for side in inner)):
        raise AnswerError(f"The model expects {inner} files for each image, not one.")
    return (1,) * len(inner or ()), False


def _array_shape(
    inner: tuple[int, ...] | None, image_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], bool]:
    if inner is not None and len(inner) > MAX_RANK:
        raise AnswerError(f"The model expects images of {len(inner)} axes.")
    if inner is None or _fits(inner, image_shape):
        return image_shape, False
    if len(image_shape) == 3 and _fits(inner, (image_shape[2], *image_shape[:2])):
        return (image_shape[2], *image_shape[:2]), True
    if inner == (math.prod(image_shape),) or _without_ones(inner) == _without_ones(image_shape):
        return inner, False  # flattened, or with or without an axis for a single channel
    raise AnswerError(f"The model expects images of shape {inner}; the key is for {image_shape}.")


def _lacks_batch_axis(sides: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of one image, as servers have it that do not batch."""
    return _fits(sides, shape) and -1 not in sides and not _fits(sides[1:], shape)


def _fits(sides: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    pairs = zip(sides, shape, strict=False)
    return len(sides) == len(shape) and all(a in (-1, b) for a, b in pairs)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]
