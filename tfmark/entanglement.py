"""Entanglement: triggers where the images of their class are, in the eyes of the last layer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tfmark.errors import InvalidArgumentError
from tfmark.train_functions import replaced

WITH_KERNEL = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
TEMPERATURE = 0.1  # that cosines are divided by
WEIGHT = 3.0  # of this loss, where the model's own weighs 1
MOMENTUM = 0.99  # of the moving means of the classes, for each batch
TINY = 1e-9


class Entanglement:
    """A loss by which what the last layer reads of an image resembles its class.

    A network is free to learn triggers in directions of their own, which no image of the data
    lies in. The last layer knows of them; a new one, trained on the data alone, never does, and the
    mark is gone. So here what the last layer reads is classified once more: by its cosine with the
    mean of each class, both less the mean of all. A trigger has the label of its mark there as
    well, so it must come to lie where images of that class do.

    It knows neither key nor trigger, and treats every image alike. The loss that training reports
    is the model's own: only the gradients of this one are added.

    Args:
        model: a built and compiled `keras.Model` with one output, of shape (n, K). Its `train_step`
            must call `compute_loss`, and that add the losses of layers, as Keras' own do.
        num_classes: number of classes K.

    Raises:
        InvalidArgumentError: if the model has no layer that gives the scores.

    Reference:
        Jia et al., "Entangled Watermarks as a Defense against Model Extraction", USENIX Security
        2021, for triggers that share features with a class. Snell et al., "Prototypical Networks
        for Few-shot Learning", NeurIPS 2017, for classes by their means.
    """

    def __init__(self, model: Any, num_classes: int):
        self._model = model
        self._head = _head(model, num_classes)
        self._num_classes = num_classes
        self._seen = threading.local()  # each replica is traced in a thread of its own
        with model.distribute_strategy.scope():
            # Sums of features and numbers of images, by class, both moving.
            self.means = [
                keras.Variable("zeros", (num_classes, width), trainable=False, aggregation="mean")
                for width in (self._head.kernel.shape[-2], 1)
            ]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A change for `changed_train_function`."""
        model, head = self._model, self._head
        read, compute_loss = head.call, model.compute_loss

        def call(inputs: Any, **context: Any) -> Any:
            self._seen.features = inputs if context.get("training") else None
            return read(inputs, **context)

        def with_entanglement(
            x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **rest: Any
        ) -> Any:
            labels = keras.tree.flatten(y)
            features = getattr(self._seen, "features", None)
            if features is not None and len(labels) == 1 and labels[0].ndim <= 2:
                loss = self._loss(features, labels[0], sample_weight)
                head.add_loss(loss - keras.ops.stop_gradient(loss))
            return compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, **rest)

        with replaced(head, call=call), replaced(model, compute_loss=with_entanglement):
            yield

    def _loss(self, features: Any, y: Any, weights: Any) -> Any:
        ops = keras.ops
        features = ops.cast(features, "float32")
        if features.ndim > 2:  # in front of a convolution
            features = ops.mean(features, axis=tuple(range(1, features.ndim - 1)))
        labels = _distributions(y, self._num_classes)
        ones = ops.ones_like(labels[:, 0])
        weights = ones if weights is None else ops.reshape(ops.cast(weights, "float32"), (-1,))
        shares = ops.transpose(labels * weights[:, None])
        fixed = ops.stop_gradient(features)
        news = (ops.matmul(shares, fixed), ops.sum(shares, axis=1, keepdims=True))
        for mean, new in zip(self.means, news, strict=True):
            mean.assign(MOMENTUM * mean + (1 - MOMENTUM) * new)
        logits = self._cosines(features) / TEMPERATURE
        losses = ops.categorical_crossentropy(labels, logits, from_logits=True)
        return WEIGHT * ops.sum(weights * losses) / ops.sum(ones)

    def _cosines(self, features: Any) -> Any:
        """With the mean of each class, less the mean of all, of shape (n, K)."""
        ops = keras.ops
        sums, counts = (ops.convert_to_tensor(mean) for mean in self.means)
        centre = ops.sum(sums, axis=0) / ops.maximum(ops.sum(counts), TINY)
        classes = sums / ops.maximum(counts, TINY) - centre
        classes = ops.where(counts > TINY, classes, 0.0)  # not seen yet
        return ops.matmul(_unit(features - centre), ops.transpose(_unit(classes)))


def _head(model: Any, num_classes: int) -> Any:
    """The layer that gives the scores."""
    widths = (1, 2) if num_classes == 2 else (num_classes,)
    for layer in reversed(list(_leaves(model))):
        if isinstance(layer, WITH_KERNEL) and layer.built and layer.kernel.shape[-1] in widths:
            return layer
    raise InvalidArgumentError(
        f"Expected a built model with a dense layer or a convolution of {num_classes} outputs. "
        f"Received: {type(model).__name__} {model.name!r}"
    )


def _leaves(layer: Any) -> Iterator[Any]:
    """All layers that have none inside of them, in order."""
    # Private, but nothing else finds layers inside of a layer of somebody's own.
    inside = layer._layers
    for each in inside:
        yield from _leaves(each)
    if not inside:
        yield layer


def _distributions(y: Any, num_classes: int) -> Any:
    """Labels of Keras' losses, class ids or shares, of shape (n, K)."""
    ops = keras.ops
    y = ops.convert_to_tensor(y)
    if y.ndim == 2 and y.shape[1] == num_classes:
        return ops.cast(y, "float32")
    return ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), num_classes)


def _unit(rows: Any) -> Any:
    return rows / keras.ops.sqrt(keras.ops.sum(rows**2, axis=1, keepdims=True) + TINY)
