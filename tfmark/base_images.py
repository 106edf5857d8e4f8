"""The base images of a key: checked, brought to the pixel grid, put into groups, and bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfmark.derivation import Stream, base_leaf, merkle_root
from tfmark.errors import InvalidArgumentError
from tfmark.marks import unrelated
from tfmark.pixels import Pixels, ValueRange, infer_value_range, to_pixels

MAX_FOREIGN = 1024  # foreign images of one class id that a key keeps


def ordinary(images: Any, shape: tuple[int, ...], num_marks: int, value_range: ValueRange,
             stream: Stream) -> Pixels:  # fmt: skip
    """Check ordinary base images and shuffle them.

    Args:
        images: array of shape (n, *shape), in the scale of the pipeline or of an integer dtype.
        shape: shape of one image.
        num_marks: number of marks; twice as many images are needed.
        value_range: scale of the pipeline.
        stream: source of the order.

    Returns:
        A uint8 array of shape (1, n, height, width, channels).

    Raises:
        InvalidArgumentError: if the images do not fit or are too few.
    """
    images = as_images(images, "base_images")
    if images.shape[1:] != shape:
        raise InvalidArgumentError(
            f"Expected `base_images` of shape (n, {', '.join(map(str, shape))}). "
            f"Received: shape {images.shape}"
        )
    if len(images) < 2 * num_marks:
        raise InvalidArgumentError(
            f"Too few base images. Expected at least {2 * num_marks}, two for each of the "
            f"{num_marks} marks: one for embedding, one for verification. Received: {len(images)}"
        )
    pixels = to_pixels(images, value_range)
    if (pixels == pixels[:1]).all():
        raise InvalidArgumentError(
            f"Expected different base images. Received: {len(images)} equal ones"
        )
    height, width = shape[:2]
    return pixels.reshape(1, len(pixels), height, width, -1)[:, stream.shuffled(len(pixels))]


def foreign(unrelated_images: Any, shape: tuple[int, int, int]) -> Pixels:
    """Check the owner's foreign images, resize them, and put them into groups by class id.

    Args:
        unrelated_images: a pair of an array of images, of shape (n, h, w) or (n, h, w, channels)
            (grey images serve for any model), and an integer array of class ids, of shape (n,).
        shape: (height, width, channels) of the marked model's images.

    Returns:
        A uint8 array of shape (groups, images in a group, height, width, channels or 1).

    Raises:
        InvalidArgumentError: if the images do not fit or are too few.
    """
    if not (isinstance(unrelated_images, tuple | list) and len(unrelated_images) == 2):
        raise InvalidArgumentError(
            "Expected `unrelated_images` as a pair (images, class_ids). "
            f"Received: {type(unrelated_images).__name__}"
        )
    images = as_images(unrelated_images[0], "unrelated_images")
    class_ids = np.asarray(unrelated_images[1])
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if not (
        images.ndim == 4
        and class_ids.shape == images.shape[:1]
        and np.issubdtype(class_ids.dtype, np.integer)
    ):
        raise InvalidArgumentError(
            "Expected `unrelated_images` as (images of shape (n, height, width, channels), integer "
            f"class ids of shape (n,)). Received: shapes {images.shape} and {class_ids.shape}, "
            f"class ids of dtype {class_ids.dtype}"
        )
    kinds, counts = np.unique(class_ids, return_counts=True)
    if len(kinds) < 2 or counts.min() < 8:
        raise InvalidArgumentError(
            "Expected unrelated images of at least two class ids, and at least 8 images of each. "
            f"Received: {len(kinds)} class ids, {counts.min(initial=len(images))} images of the "
            "rarest"
        )
    pixels = to_pixels(images, infer_value_range(images))
    channels = pixels.shape[-1]
    if channels not in (1, shape[2]):
        if shape[2] != 1:
            raise InvalidArgumentError(
                f"Expected unrelated images with 1 or {shape[2]} channels. Received: {channels}"
            )
        pixels = np.rint(pixels.mean(axis=-1, keepdims=True)).astype(np.uint8)
    groups = unrelated.group_by_class(pixels, class_ids.astype(np.int64))[:, :MAX_FOREIGN]
    return np.stack([[resize(image, shape[0], shape[1]) for image in group] for group in groups])


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Resize one image of shape (h, w, channels), each channel by itself."""
    if image.shape[:2] == (height, width):
        return image
    size = (width, height)
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(image, -1, 0)]
    resized = [np.asarray(band.resize(size, Image.Resampling.BILINEAR)) for band in bands]
    return np.stack(resized, axis=-1)


def root(pool: Pixels) -> bytes:
    """Merkle root over the base images, in order, so that single ones can be opened later."""
    images = pool.reshape(-1, *pool.shape[2:])
    return merkle_root([base_leaf(i, image.tobytes()) for i, image in enumerate(images)])


def as_images(images: Any, name: str) -> npt.NDArray[Any]:
    """Return an array of numbers with at least two dimensions and one image in it."""
    try:
        array = np.asarray(images)
    except ValueError:
        raise InvalidArgumentError(
            f"Expected `{name}` as an array of finite numbers. Received: images of different shapes"
        ) from None
    is_number = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    if not is_number or array.ndim < 3 or array.size == 0 or not np.isfinite(array).all():
        raise InvalidArgumentError(
            f"Expected `{name}` as an array of finite numbers, one image after the other. "
            f"Received: dtype {array.dtype}, shape {array.shape}"
        )
    if np.issubdtype(array.dtype, np.integer) and (array.min() < 0 or array.max() > 255):
        raise InvalidArgumentError(
            f"Expected `{name}` of an integer dtype with values from 0 to 255. "
            f"Received: values from {array.min()} to {array.max()}"
        )
    return array
