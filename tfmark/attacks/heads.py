"""What a model's scores are, how to train it on labels, and where its last layer is."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from tfmark.attacks.copies import WITH_KERNEL, layers_of, some_images
from tfmark.attacks.data import AttackData
from tfmark.endpoints.in_memory import as_inputs
from tfmark.errors import AttackError

Floats = npt.NDArray[np.float32]

TOLD_FROM = 64  # images whose scores tell what they are
TINY = 1e-7  # the least probability that a logarithm is taken of


class Head(NamedTuple):
    """What scores are: "softmax", "sigmoid" or "logits", and so many for each image.

    One score for two classes is that of the second class.
    """

    kind: str
    width: int

    def targets(self, distributions: Floats) -> Floats:
        """Distributions over the classes, of shape (n, K), as what the scores are trained to be."""
        return distributions[:, 1:] if self.width == 1 else distributions

    def loss(self, temperature: float = 1.0) -> Any:
        """The cross-entropy to such targets, with scores softened by a temperature."""
        if self.kind == "sigmoid" or self.width == 1:
            return keras.losses.BinaryCrossentropy(from_logits=self.kind == "logits")
        if temperature == 1:
            return keras.losses.CategoricalCrossentropy(from_logits=self.kind == "logits")

        def softened(targets: Any, scores: Any) -> Any:
            logits = scores
            if self.kind == "softmax":
                logits = keras.ops.log(keras.ops.maximum(scores, TINY))
            # The factor keeps the gradients' size (Hinton et al. 2015).
            return temperature**2 * keras.losses.categorical_crossentropy(
                targets, logits / temperature, from_logits=True
            )

        return softened

    def distributions(self, scores: npt.NDArray[Any], temperature: float = 1.0) -> Floats:
        """Scores as distributions over the classes, of shape (n, K)."""
        scores = scores.astype(np.float64).reshape(len(scores), -1)
        if self.kind == "softmax":
            logits = np.log(np.maximum(scores, TINY))
        elif self.kind == "sigmoid":
            chance = scores.clip(TINY, 1 - TINY)
            logits = np.log(chance) - np.log1p(-chance)
        else:
            logits = scores
        if self.width == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        logits = logits / temperature
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: Floats = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares


def head_of(model: Any, data: AttackData) -> Head:
    """Tell from some answers what a model's scores are.

    Raises:
        AttackError: if they are not one row of scores of the classes for each image.
    """
    images = some_images(data, TOLD_FROM)
    answers = model(as_inputs(model, images), training=False)
    outputs = keras.tree.flatten(answers)
    if len(outputs) != 1:
        raise AttackError(f"The model has {len(outputs)} outputs; an attack trains models of one.")
    scores = keras.ops.convert_to_numpy(outputs[0]).astype(np.float64)
    width = scores.shape[-1]
    if scores.shape != (len(images), width) or width not in _widths(data.num_classes):
        raise AttackError(
            f"Expected {data.num_classes} scores for each image. Received: shape {scores.shape} "
            f"for {len(images)} images"
        )
    if scores.min() < 0 or scores.max() > 1 + 1e-3:
        return Head("logits", width)
    sums_to_one = width > 1 and np.abs(scores.sum(axis=1) - 1).max() < 1e-2
    return Head("softmax" if sums_to_one else "sigmoid", width)


def one_hot(data: AttackData) -> Floats:
    """The true labels as distributions."""
    return np.eye(data.num_classes, dtype=np.float32)[data.labels]


def last_layer(model: Any, num_classes: int) -> Any:
    """The layer that gives the scores.

    Raises:
        AttackError: if the last layer with weights has no score for each class.
    """
    with_weights = [layer for layer in layers_of(model) if layer.weights]
    if not with_weights:
        raise AttackError("The model has no layer with weights.")
    last = with_weights[-1]
    kernel = getattr(last, "kernel", None)
    width = None if kernel is None else kernel.shape[-1]
    if not isinstance(last, WITH_KERNEL) or width not in _widths(num_classes):
        raise AttackError(
            f"Its last layer with weights, {last.name!r} ({type(last).__name__}), is not a Dense "
            f"or convolution layer with {num_classes} outputs."
        )
    return last


def _widths(num_classes: int) -> tuple[int, ...]:
    return (1, 2) if num_classes == 2 else (num_classes,)
