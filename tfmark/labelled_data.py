"""Labelled images for training and testing, from a file, a folder, or a TFDS set."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfmark import datasets
from tfmark.attacks.data import class_ids_of
from tfmark.base_files import SUFFIXES, fit
from tfmark.base_images import as_images
from tfmark.datasets import Dataset
from tfmark.errors import DatasetError, InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.pixels import Pixels, ValueRange, infer_value_range, to_pixels

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
TESTED = 0.2  # share of the images of a folder that is kept for testing

# What NumPy and zipfile raise for a file that is damaged or something else.
_UNREADABLE = (
    OSError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError, RuntimeError,
    KeyError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def load_labelled(source: str, key: WatermarkKey) -> Dataset:
    """Load what a model was trained on and what it is tested on.

    Args:
        source: a .npz file with the arrays x_train, y_train, x_test and y_test; a folder with one
            subfolder of image files for each class (classes are numbered in the order of the names,
            as `keras.utils.image_dataset_from_directory` does), or with the folders train and test
            of that kind; "digits"; or the name of a TFDS set.
        key: the owner's key, for the shape of images, their scale, and the number of classes.

    Returns:
        A `Dataset` of images on the grid of 0..255.

    Raises:
        InvalidArgumentError: if it is not such data, or does not fit the key.
        DatasetError: if a set cannot be had.
    """
    path = Path(source)
    if path.is_dir():
        return as_dataset(_from_folder(path, key), key)
    if path.suffix == ".npz" or path.is_file():
        return as_dataset(_from_file(path), key)
    try:
        data = datasets.load(source)
    except DatasetError as error:
        raise DatasetError(f"{error} Nor is there a file or folder of that name.") from None
    if data.num_classes != key.spec.num_classes:
        raise InvalidArgumentError(
            f"Expected data of {key.spec.num_classes} classes. Received: {source}, of "
            f"{data.num_classes}"
        )
    x_train, x_test = (_fitting(images, key.spec.image_shape) for images in (data[0], data[2]))
    return as_dataset((x_train, data.y_train, x_test, data.y_test), key)


def as_dataset(data: Any, key: WatermarkKey) -> Dataset:
    """Check labelled images, and bring them to the grid of 0..255.

    Args:
        data: a `Dataset`, `(x_train, y_train, x_test, y_test)`, or
            `((x_train, y_train), (x_test, y_test))` as the sets of `keras.datasets` come. Images
            are as they enter the model, of an integer dtype from 0 to 255, or scaled to (0, 1) or
            (-1, 1); labels are class ids or one-hot.
        key: the owner's key, which says what fits.

    Raises:
        InvalidArgumentError: if these are not labelled images that fit the key.
    """
    x_train, y_train, x_test, y_test = _four(data)
    classes = key.spec.num_classes
    images = [_pixels(x, name, key) for x, name in ((x_train, "x_train"), (x_test, "x_test"))]
    labels = []
    for y, name, of in ((y_train, "y_train", images[0]), (y_test, "y_test", images[1])):
        try:
            labels.append(class_ids_of(y, len(of), classes))
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"`{name}` does not fit. {error}") from None
    return Dataset(images[0], labels[0], images[1], labels[1], classes)


def _four(data: Any) -> tuple[Any, Any, Any, Any]:
    if isinstance(data, Dataset):
        return data[:4]
    if isinstance(data, tuple | list):
        if len(data) == 2 and all(isinstance(p, tuple | list) and len(p) == 2 for p in data):
            (x_train, y_train), (x_test, y_test) = data
            return x_train, y_train, x_test, y_test
        if len(data) == 4:
            x_train, y_train, x_test, y_test = data
            return x_train, y_train, x_test, y_test
    raise InvalidArgumentError(
        "Invalid value for argument `data`. Expected (x_train, y_train, x_test, y_test) or "
        f"((x_train, y_train), (x_test, y_test)). Received: {type(data).__name__}"
    )


def _pixels(images: Any, name: str, key: WatermarkKey) -> Pixels:
    array = as_images(images, name)
    shape = key.spec.image_shape
    if array.shape[1:] == (*shape, 1) or (*array.shape[1:], 1) == shape:
        array = array.reshape(len(array), *shape)  # grey images with or without an axis for it
    if array.shape[1:] != shape:
        raise InvalidArgumentError(
            f"Expected `{name}` of shape (n, {', '.join(map(str, shape))}), as the key says. "
            f"Received: shape {array.shape}"
        )
    return to_pixels(array, _scale(array, key.value_range))


def _scale(images: npt.NDArray[Any], expected: ValueRange) -> ValueRange:
    """The key's scale, unless the images clearly have another one."""
    try:
        found = infer_value_range(images)
    except InvalidArgumentError:
        return expected
    inside = expected[0] <= images.min() and images.max() <= expected[1]
    # Images that fill the key's scale are taken to have it, whatever else they fill.
    spans = images.max() - images.min() > (expected[1] - expected[0]) / 4
    return expected if inside and spans else found


def _from_file(path: Path) -> tuple[Any, Any, Any, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            names = sorted(loaded.files)
            if set(ARRAYS) <= set(names):
                x_train, y_train, x_test, y_test = (loaded[name] for name in ARRAYS)
                return x_train, y_train, x_test, y_test
    except FileNotFoundError:
        raise InvalidArgumentError(f"There is no file {path}.") from None
    except _UNREADABLE as error:
        raise InvalidArgumentError(
            f"Expected a .npz file with the arrays {', '.join(ARRAYS)}. Received: {path} "
            f"({type(error).__name__})"
        ) from None
    missing = [name for name in ARRAYS if name not in names]
    raise InvalidArgumentError(
        f"Expected arrays called {', '.join(ARRAYS)} in {path}: {', '.join(missing)} "
        f"{'are' if len(missing) > 1 else 'is'} missing. Received: {', '.join(names)}"
    )


def _from_folder(folder: Path, key: WatermarkKey) -> tuple[Any, Any, Any, Any]:
    inside = {path.name for path in _subfolders(folder)}
    if inside == {"train", "test"}:
        return (*_classes(folder / "train", key), *_classes(folder / "test", key))
    images, labels = _classes(folder, key)
    order = np.random.default_rng(0).permutation(len(images))
    tested = round(TESTED * len(images))
    test, train = order[:tested], order[tested:]
    return images[train], labels[train], images[test], labels[test]


def _classes(folder: Path, key: WatermarkKey) -> tuple[Pixels, npt.NDArray[np.int64]]:
    subfolders = _subfolders(folder)
    if len(subfolders) != key.spec.num_classes:
        raise InvalidArgumentError(
            f"Expected {key.spec.num_classes} subfolders in {folder}, one for each class. "
            f"Received: {len(subfolders)}"
        )
    images, labels = [], []
    for class_id, subfolder in enumerate(subfolders):
        files = sorted(f for f in subfolder.rglob("*") if f.suffix.lower() in SUFFIXES)
        if not files:
            raise InvalidArgumentError(f"There are no image files in {subfolder}.")
        for file in files:
            try:
                with Image.open(file) as image:
                    images.append(fit(image, key.spec.image_shape))
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise InvalidArgumentError(f"Cannot read the image {file}: {error}") from None
            labels.append(class_id)
    return np.stack(images), np.array(labels, np.int64)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _fitting(images: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Images of a set, brought to the shape of the key's."""
    if images.shape[1:] == shape:
        return images
    return np.stack([fit(Image.fromarray(image.squeeze()), shape) for image in images])
