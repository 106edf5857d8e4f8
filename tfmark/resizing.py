"""Multiplies weights of a Keras model by factors, and what keeps its answers along."""

from __future__ import annotations

from typing import Any

import keras

from tfmark.model_sizes import kernel_of, offset_of, scale_of, sizes_of

Factors = dict[str, float]  # of layers by their path


def multiply(model: Any, factors: Factors) -> None:
    """Multiply kernels and scales by factors, and what keeps the model's answers along.

    What the model predicts and evaluates with is compiled anew if numbers were changed that Keras
    compiles in. What it is trained with is not: see `recompile_training`.
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
    if _has_compiled_epsilon(model):
        model.make_predict_function(force=True)
        model.make_test_function(force=True)


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


def recompile_training(model: Any) -> None:
    """Let Keras compile the training step anew if `multiply` changed numbers that are in it."""
    if _has_compiled_epsilon(model):
        model.make_train_function(force=True)


def _has_compiled_epsilon(model: Any) -> bool:
    """Whether sizes in it end at normalisations without statistics."""
    norms = (step.layer for sizes in sizes_of(model) for step in sizes.steps if step.is_norm)
    return not all(isinstance(norm, keras.layers.BatchNormalization) for norm in norms)
