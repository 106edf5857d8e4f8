"""What an attacker has: images, their labels, and images that the owner never trained on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.errors import InvalidArgumentError
from tfmark.pixels import Pixels, ValueRange, check_value_range, infer_value_range, to_pixels

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AttackData:
    """What an attacker has. Images are on the grid of 0..255, so that a large set stays small.

    Example:
    ```python
    >>> data = tfmark.attacks.AttackData.of(x_train, y_train, num_classes=10)
    >>> len(data), len(data.part(0.5, seed=0))
    (1400, 700)
    ```

    Attributes:
        pixels: uint8 array of shape (n, *image_shape).
        labels: int64 array of shape (n,), the true class ids.
        num_classes: number of classes K.
        value_range: how the stolen model expects pixels to be scaled, (lowest, highest).
        unseen: uint8 array of shape (m, *image_shape), images of the same kind that the owner did
            not train on; only some attacks want them. `None` if there are none.
    """

    pixels: Pixels = field(repr=False)
    labels: Ints = field(repr=False)
    num_classes: int
    value_range: ValueRange
    unseen: Pixels | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, images: Any, labels: Any, num_classes: int | None = None, value_range: Any = None
    ) -> AttackData:
        """Check what an attacker has.

        Args:
            images: array of shape (n, *image_shape) as it enters the model, or integers of 0..255.
            labels: class ids, of shape (n,) or (n, 1), or one-hot.
            num_classes: number of classes. Defaults to `None`, told from the labels.
            value_range: how the model expects pixels to be scaled. Defaults to `None`, told from
                the images.

        Returns:
            An `AttackData`.

        Raises:
            InvalidArgumentError: if these do not fit together.
        """
        images = np.asarray(images)
        ids = class_ids_of(labels, len(images), num_classes)
        scale = infer_value_range(images) if value_range is None else check_value_range(value_range)
        classes = int(ids.max(initial=1)) + 1 if num_classes is None else num_classes
        return cls(to_pixels(images, scale), ids, classes, scale)

    def part(self, share: float, seed: int) -> AttackData:
        """A random share of the labelled images.

        Args:
            share: above 0 up to 1; at least one image is taken.
            seed: of the choice.

        Returns:
            An `AttackData`.
        """
        order = np.random.default_rng([seed, 1]).permutation(len(self))
        chosen = order[: max(1, round(share * len(self)))]
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])

    def __len__(self) -> int:
        return len(self.pixels)


def as_attack_data(data: Any, model: Any = None) -> AttackData:
    """What a caller gave an attack: `AttackData`, or a pair of images and labels.

    The model says how many classes there are, as not all of them need to be among the labels.

    Raises:
        InvalidArgumentError: if it is neither.
    """
    if isinstance(data, AttackData):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        shape = getattr(model, "output_shape", None)
        width = shape[-1] if isinstance(shape, tuple) and len(shape) == 2 else None
        images, labels = data
        return AttackData.of(images, labels, 2 if width == 1 else width)
    raise InvalidArgumentError(
        "Invalid value for argument `data`. Expected a pair (images, labels) or an `AttackData`. "
        f"Received: {type(data).__name__}"
    )


def class_ids_of(labels: Any, count: int, num_classes: int | None) -> Ints:
    """Labels as class ids, whether they are ids, a column of ids, or one-hot.

    Raises:
        InvalidArgumentError: if they are not one label for each of `count` images.
    """
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and array.shape[1] == (num_classes or array.shape[1]):
        array = _from_one_hot(array)
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and (array % 1 == 0).all())
    if array.shape != (count,) or not whole:
        raise InvalidArgumentError(
            f"Expected {count} labels, one class id for each image. "
            f"Received: shape {np.shape(labels)}, dtype {np.asarray(labels).dtype}"
        )
    ids = array.astype(np.int64)
    most = np.inf if num_classes is None else num_classes
    if count and not (ids.min() >= 0 and ids.max() < most):
        expected = "from 0 up" if num_classes is None else f"from 0 to {num_classes - 1}"
        raise InvalidArgumentError(
            f"Expected labels {expected}. Received: labels from {ids.min()} to {ids.max()}"
        )
    return ids


def _from_one_hot(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
        raise InvalidArgumentError(
            "Expected labels as class ids, or one-hot. Received: rows that are not one-hot, of "
            f"shape {array.shape}"
        )
    ids: npt.NDArray[Any] = array.argmax(axis=1)
    return ids
