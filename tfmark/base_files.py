"""Base images from a file, a folder, or a TFDS set, for the command line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfmark import datasets
from tfmark.base_images import resize
from tfmark.errors import DatasetError, InvalidArgumentError

MOST = 512  # images taken from a folder or a TFDS set
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def load_images(source: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Load images.

    Args:
        source: a .npy file, a .npz file (the array "x", "images", "x_train" or the only one), a
            folder of image files (subfolders included), or the name of a TFDS set.
        shape: shape of one image; those of a folder and of a set are brought to it.

    Returns:
        An array of shape (n, ...).

    Raises:
        InvalidArgumentError: if a file or folder cannot be read as images.
        DatasetError: if a set cannot be had.
    """
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, shape)
    if path.suffix in (".npy", ".npz") or path.exists():
        return _from_file(path)
    try:
        images = datasets.load(source).x_train[:MOST]
    except DatasetError as error:
        raise DatasetError(f"{error} Nor is there a file or folder of that name.") from None
    return np.stack([fit(Image.fromarray(image.squeeze()), shape) for image in images])


def _from_file(path: Path) -> npt.NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = [name for name in ("x", "images", "x_train") if name in loaded.files]
            name, *_ = names or (loaded.files if len(loaded.files) == 1 else [])
            return np.asarray(loaded[name])
    except FileNotFoundError:
        raise InvalidArgumentError(f"There is no file {path}.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(
            f"Expected a NumPy file with one array of images, or with one named x, images or "
            f"x_train. Received: {path} ({error})"
        ) from None


def _from_folder(folder: Path, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)[:MOST]
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                images.append(fit(image, shape))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InvalidArgumentError(f"Cannot read the image {file}: {error}") from None
    if not images:
        raise InvalidArgumentError(f"There are no image files in {folder}.")
    return np.stack(images)


def fit(image: Image.Image, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Bring an image to a shape, grey or colour."""
    height, width, channels = (*shape, 1)[:3]
    if channels not in (1, 3, 4):
        raise InvalidArgumentError(f"Image files have 1, 3 or 4 channels, not {channels}.")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    pixels = np.asarray(image.convert(mode)).reshape(image.height, image.width, channels)
    return resize(pixels, height, width).reshape(shape)
