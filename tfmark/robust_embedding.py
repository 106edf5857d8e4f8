"""Marks against fine-tuning: triggers are learned where a thief's next step would lead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from tfmark.errors import InvalidArgumentError

RATE = 0.5  # as far as SGD at 0.05 with momentum 0.9 is carried by one gradient
LIMIT = 0.1  # of the norm of all weights: whoever steps further has lost the model
TINY = 1e-7


class ThiefAhead:
    """Moves a model to where a thief would have it, and what it learns there back home.

    Fine-tuning forgets marks because nothing held them where its large steps lead. So a step on
    triggers is taken there: one long step of gradient descent on clean images leads away, the step
    on triggers is trained at that place, and the change that it made is applied to the weights as
    they were. The labels of the clean images are drawn from the model's own answers, which is the
    noise that fine-tuning walks in; so the owner need not hand over any.

    Args:
        model: the `keras.Model`, compiled, with one output.
        one_hot: whether its loss expects one-hot labels.
        seed: makes the drawn labels reproducible.

    Raises:
        InvalidArgumentError: if this cannot be done to such a model.

    Reference:
        Finn et al., "Model-Agnostic Meta-Learning", ICML 2017, for the gradient behind a step,
        taken as if it were one before it. Gan et al., "Towards Robust Model Watermark via Reducing
        Parametric Vulnerability", ICCV 2023, for learning marks at weights that hurt them.
    """

    def __init__(self, model: Any, one_hot: bool, seed: int):
        _check(model)
        self._model = model
        self._loss = keras.losses.get(model.loss)
        self._one_hot = one_hot
        self._seed = seed
        self._gradients = _compiled(self._gradients_of)

    @contextmanager
    def after_a_step_on(self, images: Any, turn: int) -> Iterator[None]:
        """While open, the model's weights are those that the thief's step leads to."""
        weights = self._model.trainable_variables
        home = [keras.ops.copy(weight.value) for weight in weights]
        gradients = self._gradients(images, np.array([self._seed, turn], np.int64))
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(RATE * gradient)
        away = [keras.ops.copy(weight.value) for weight in weights]
        try:
            yield
        finally:
            for weight, before, there in zip(weights, home, away, strict=True):
                weight.assign(before + (weight - there))

    def _gradients_of(self, images: Any, seed: Any) -> Any:
        """Of the loss on clean images, with no trace in the model's state."""
        import tensorflow as tf

        model = self._model
        weights = [tf.identity(weight.value) for weight in model.trainable_variables]
        state = [variable.value for variable in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, _ = model.stateless_call(weights, state, images, training=True)
            drawn = _drawn(tf.stop_gradient(tf.cast(outputs, tf.float32)), seed)
            targets = _as_targets(drawn, outputs, self._one_hot)
            loss = tf.reduce_mean(tf.cast(self._loss(targets, outputs), tf.float32))
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, weights, unconnected_gradients=zero)
        return tf.clip_by_global_norm(gradients, LIMIT / RATE * tf.linalg.global_norm(weights))[0]


def _drawn(scores: Any, seed: Any) -> Any:
    """Draw a class id for each row of probabilities or logits, as probable as the model says."""
    import tensorflow as tf

    are_probabilities = tf.reduce_all((scores >= 0) & (scores <= 1))
    if scores.shape[-1] == 1:  # of the second of two classes
        scores = tf.cond(
            are_probabilities,
            lambda: tf.concat([1 - scores, scores], -1),
            lambda: tf.concat([tf.zeros_like(scores), scores], -1),
        )
    logits = tf.where(are_probabilities, tf.math.log(scores + TINY), scores)
    return tf.random.stateless_categorical(logits, 1, seed)[:, 0]


def _as_targets(drawn: Any, outputs: Any, one_hot: bool) -> Any:
    import tensorflow as tf

    if outputs.shape[-1] == 1:
        return tf.cast(drawn[:, tf.newaxis], outputs.dtype)
    return tf.one_hot(drawn, outputs.shape[-1]) if one_hot else drawn


def _compiled(function: Any) -> Any:
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True)


def check_backend() -> None:
    """Gradients at other weights than the model's own are taken with TensorFlow.

    Raises:
        InvalidArgumentError: if Keras runs on something else.
    """
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgumentError(
            "`robust=True` needs Keras on TensorFlow; `tfmark.inject` works on any backend. "
            f"Received: the backend {keras.backend.backend()!r}"
        )


def _check(model: Any) -> None:
    outputs = len(getattr(model, "outputs", [None]))  # a subclassed model does not say
    if outputs != 1 or isinstance(model.loss, list | tuple | dict):
        raise InvalidArgumentError(
            "`robust=True` needs a model with one output and one loss. Received: "
            f"{outputs} outputs, loss={model.loss!r}"
        )
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise InvalidArgumentError(
            "`robust=True` trains on one device. Use `tfmark.inject` in a distributed training. "
            f"Received: {replicas} replicas"
        )
