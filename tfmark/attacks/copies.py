"""Copies of a model: the stolen one is never changed, and a thief has no use for its optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfmark.attacks.data import AttackData
from tfmark.endpoints.in_memory import as_inputs
from tfmark.errors import AttackError
from tfmark.pixels import from_pixels

WITH_KERNEL = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
COMPARED = 8  # images whose scores a copy must give as the original does


def copy_of(model: Any, data: AttackData) -> Any:
    """A copy with the same weights, all of them trainable, not compiled.

    Raises:
        AttackError: if Keras cannot copy the model.
    """
    copy = fresh_copy(model, data)
    try:
        copy.set_weights(model.get_weights())
    except ValueError as error:
        raise AttackError(f"Keras cannot copy this model: {_brief(error)}") from None
    if not all(np.allclose(a, b, atol=1e-5) for a, b in _same_answers(model, copy, data)):
        raise AttackError("Keras cannot copy this model: the copy answers otherwise.")
    copy.trainable = True
    return copy


def fresh_copy(model: Any, data: AttackData) -> Any:
    """A model of the same architecture with new weights, but for what it normalises pixels by.

    Raises:
        AttackError: if Keras cannot make one.
    """
    if not isinstance(model, keras.Model):
        raise AttackError(
            f"This attack needs a Keras model with its weights, not a {type(model).__name__}."
        )
    try:
        fresh = _clone(model)
        fresh(as_inputs(fresh, some_images(data)), training=False)  # builds a subclassed one
    except Exception as error:  # whatever somebody's own layers raise
        raise AttackError(f"Keras cannot copy this model: {_brief(error)}") from None
    for old, new in zip(layers_of(model), layers_of(fresh), strict=False):
        if isinstance(old, keras.layers.Normalization):
            new.set_weights(old.get_weights())
            new.finalize_state()
        elif isinstance(new, WITH_KERNEL):
            initialise(new)
    return fresh


def initialise(layer: Any) -> None:
    """Give a layer of `WITH_KERNEL` a new kernel and bias, also where its initializer has a seed.

    Such a seed would bring the owner's own initial weights back.
    """
    for weights, initializer in (
        (layer.kernel, layer.kernel_initializer),
        (layer.bias, layer.bias_initializer),
    ):
        if weights is not None:
            weights.assign(_without_seed(initializer)(weights.shape, weights.dtype))


def _without_seed(initializer: Any) -> Any:
    config = initializer.get_config()
    if "seed" not in config:
        return initializer
    return type(initializer).from_config(config | {"seed": None})


def layers_of(model: Any) -> Iterator[Any]:
    """All layers, those of models inside of it as well, in order."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from layers_of(layer)
        else:
            yield layer


def some_images(data: AttackData, count: int = COMPARED) -> Any:
    """The first images, in the scale of the model."""
    return from_pixels(data.pixels[:count], data.value_range)


def _clone(model: Any) -> Any:
    try:
        return keras.models.clone_model(model)
    except (TypeError, ValueError, NotImplementedError):
        # A subclassed model. Keras adds entries to its config that not every constructor takes.
        kind, config = type(model), model.get_config()
        taken = inspect.signature(kind).parameters
        return kind(**{name: value for name, value in config.items() if name in taken})


def _same_answers(model: Any, copy: Any, data: AttackData) -> Iterator[tuple[Any, Any]]:
    images = some_images(data)
    answers = [keras.tree.flatten(m(as_inputs(m, images), training=False)) for m in (model, copy)]
    for pair in zip(*answers, strict=True):
        yield tuple(keras.ops.convert_to_numpy(a).astype(np.float64) for a in pair)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}"
