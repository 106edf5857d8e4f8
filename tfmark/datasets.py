"""Image classification data for the demo and the benchmarks: scikit-learn's digits, or TFDS."""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from tfmark.errors import DatasetError
from tfmark.pixels import Pixels

Ints = npt.NDArray[np.int64]

REACH = 5.0  # seconds in which the host of a download must accept a connection
OPEN_SIDE = 64  # pixels a side to which images are brought if a set's images differ in size


class Dataset(NamedTuple):
    """Images on the grid of 0..255, of shape (n, height, width, channels), and their class ids."""

    x_train: Pixels
    y_train: Ints
    x_test: Pixels
    y_test: Ints
    num_classes: int


def load(name: str) -> Dataset:
    """Load a data set.

    Args:
        name: "digits" for the handwritten digits that scikit-learn brings along, scaled up to 24x24
            pixels; else the name of an image classification set of TensorFlow Datasets.

    Returns:
        A `Dataset`, shuffled.

    Raises:
        DatasetError: if there is no such set, or it cannot be downloaded.
    """
    if name == "digits":
        return _digits()
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DatasetError(f"TensorFlow Datasets is not installed ({error}).") from None
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of folders that are not there
    try:
        builder = tfds.builder(name)
        if not builder.is_prepared():
            _check_reachable(name, builder.url_infos)
            builder.download_and_prepare()
    except DatasetError:
        raise
    except tfds.core.DatasetNotFoundError:
        raise DatasetError(f"TensorFlow Datasets has no set {name!r}.") from None
    except Exception as error:  # whatever a download raises
        raise DatasetError(
            f"The data set {name!r} cannot be downloaded ({type(error).__name__})."
        ) from None
    return _from_tfds(builder)


def _check_reachable(name: str, urls: Iterable[str]) -> None:
    """Try the hosts of a download first: TFDS would repeat it for minutes."""
    if urllib.request.getproxies():
        return
    for host, port in {_address(url) for url in urls}:
        try:
            socket.create_connection((host, port), timeout=REACH).close()
        except OSError:
            raise DatasetError(
                f"The data set {name!r} is not on this machine, and {host} cannot be reached."
            ) from None


def _address(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = pixels.repeat(3, axis=1).repeat(3, axis=2)[..., np.newaxis]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    return Dataset(images[:1437], labels[:1437], images[1437:], labels[1437:], 10)


def _from_tfds(builder: Any) -> Dataset:
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise DatasetError(f"{builder.name!r} is no set of images with one label each.")
    test = next((s for s in ("test", "validation") if s in builder.info.splits), None)
    splits = ("train", test) if test else ("train[:80%]", "train[80%:]")
    shape = features["image"].shape
    resize = None if None not in shape else OPEN_SIDE
    parts = [_arrays(builder.as_dataset(split=split), resize) for split in splits]
    (x_train, y_train), (x_test, y_test) = parts
    order = np.random.default_rng(0).permutation(len(x_train))
    classes = features["label"].num_classes
    return Dataset(x_train[order], y_train[order], x_test, y_test, classes)


def _arrays(dataset: Any, side: int | None) -> tuple[Pixels, Ints]:
    import tensorflow as tf

    def prepare(example: Any) -> Any:
        image = example["image"]
        if side is not None:
            image = tf.image.resize(image, (side, side))
            image = tf.saturate_cast(tf.round(image), tf.uint8)
        return image, example["label"]

    batches = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(1000)
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels).astype(np.int64)
