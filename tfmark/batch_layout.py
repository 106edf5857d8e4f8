"""What the parts of a batch are: images, labels, weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfmark.errors import InvalidArgumentError
from tfmark.key import WatermarkKey


class BatchLayout(NamedTuple):
    """Which of the flattened parts of a batch are what, and the batch size if it is fixed."""

    images: int
    labels: int
    weights: int | None
    batch_size: int | None


def batch_layout(element_spec: Any, key: WatermarkKey) -> BatchLayout:
    """Find images and labels in batches.

    Args:
        element_spec: of the batches, as `tf.data.Dataset.element_spec`.
        key: the `tfmark.WatermarkKey`, which says what images and labels look like.

    Raises:
        InvalidArgumentError: if they are no batches of such images and labels.
    """
    shape = key.spec.image_shape

    def refuse(problem: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"tfmark cannot handle this data set: {problem}. Expected batches of "
            f"(images, labels) or (images, labels, sample_weight) with images of shape "
            f"{(None, *shape)}; `tfmark.inject` goes behind `.batch()`. Received: {element_spec}"
        )

    if isinstance(element_spec, dict):
        raise refuse("its elements are dicts (with TFDS: `tfds.load(..., as_supervised=True)`)")
    if not (isinstance(element_spec, tuple) and len(element_spec) in (2, 3)):
        raise refuse("its elements are not tuples of two or three")
    x, y, *weights = (tf.nest.flatten(part) for part in element_spec)
    leaves = [*x, *y, *(leaf for part in weights for leaf in part)]
    if not all(isinstance(leaf, tf.TensorSpec) and leaf.shape.rank is not None for leaf in leaves):
        raise refuse("some parts are not dense tensors of a known rank")
    if any(leaf.shape.rank == 0 for leaf in leaves):
        raise refuse("it is not batched")
    fits = [i for i, leaf in enumerate(x) if leaf.shape.is_compatible_with((None, *shape))]
    if len(fits) != 1:
        raise refuse(f"{len(fits)} parts of its inputs have the shape of the key's images")
    images = x[fits[0]]
    name = images.dtype.name
    if not (images.dtype.is_floating or (images.dtype.is_integer and images.dtype.max >= 255)):
        raise refuse(f"its images are {name}, which cannot hold pixels")
    if images.dtype.is_integer and key.value_range != (0, 255):
        raise refuse(f"its images are {name}, but the key's `value_range` is {key.value_range}")
    classes = key.spec.num_classes
    shape_of_one = tuple(y[0].shape[1:]) if len(y) == 1 else None
    if shape_of_one not in ((), (1,), (classes,)):
        raise refuse(f"its labels are not class ids or one-hot vectors of {classes} classes")
    if not (y[0].dtype.is_floating or y[0].dtype.is_integer):
        raise refuse(f"its labels are {y[0].dtype.name}, not numbers")
    if weights and len(weights[0]) != 1:
        raise refuse("it has several sample weights")
    return BatchLayout(fits[0], len(x), len(x) + 1 if weights else None, images.shape[0])
