"""Multiplies weights of a Keras model by factors, and what keeps its answers along."""

from __future__ import annotations

from typing import Any

import keras

from tfmark.model_sizes import kernel_of, offset_of, scale_of, sizes_of

Factors = dict[str, float]  # of layers by their path


def multiply(model: Any, factors: Factors) -> None:
    """Multiply kernels and scales by factors, and what keeps the model's answers along.

    That can be epsilon, a number that Keras compiles in: see `recompile` and `CompiledFunctions`.
    """
    for steps, _ in sizes_of(model):
        sizes: dict[int, float] = {}
        for step in steps:
            layer, before = step.layer, sizes.get(step.taken, 1.0)
            factor = factors.get(layer.path, 1.0)
            if step.is_norm:
                sizes[step.given] = factor
                changes = [(scale_of(layer), factor), (offset_of(layer), factor)]
                changes += _take_away(layer, before)
            else:
                sizes[step.given] = before * factor
                changes = [(kernel_of(layer), factor), (layer.bias, before * factor)]
            for variable, by in changes:
                if variable is not None and by != 1:
                    variable.assign(variable.value * by)


def _take_away(norm: Any, size: float) -> list[tuple[Any, float]]:
    """Let a normalisation divide by this as well; gives what is left to multiply.

    It divides by the root of the variance and epsilon.
    """
    if not isinstance(norm, keras.layers.BatchNormalization):
        norm.epsilon *= size**2
        return []
    if size != 1:
        variance, epsilon = norm.moving_variance, norm.epsilon
        variance.assign((variance.value + epsilon) * size**2 - epsilon)
    return [(norm.moving_mean, size)]


def recompile(model: Any) -> None:
    """Let Keras compile all functions of a model anew if epsilon is in them."""
    if _epsilons(model):
        model.make_predict_function(force=True)
        model.make_test_function(force=True)
        model.make_train_function(force=True)


class CompiledFunctions:
    """What a model predicts and evaluates with while a training goes on, for each epsilon it has.

    To compile these at the end of each epoch would take time, and TensorFlow warns of it.
    """

    def __init__(self, model: Any):
        self._model = model
        self._kept: dict[tuple[float, ...], tuple[Any, Any]] = {}

    def multiply(self, factors: Factors) -> None:
        """Multiply weights of the model, and exchange its functions."""
        model = self._model
        self._kept[_epsilons(model)] = model.predict_function, model.test_function
        multiply(model, factors)
        # Keras compiles anew where it finds `None`.
        functions = self._kept.get(_epsilons(model), (None, None))
        model.predict_function, model.test_function = functions


def _epsilons(model: Any) -> tuple[float, ...]:
    """Of all normalisations without statistics that sizes end at."""
    norms = (step.layer for sizes in sizes_of(model) for step in sizes.steps if step.is_norm)
    return tuple(
        norm.epsilon for norm in norms if not isinstance(norm, keras.layers.BatchNormalization)
    )
