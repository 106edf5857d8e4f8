"""What follows what in a Keras model, where nothing branches off in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

# Each multiplies what comes in by a kernel and adds a bias: both doubled, so is what comes out.
_WITH_KERNEL = (
    keras.layers.Dense,
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D, keras.layers.SeparableConv2D,
)  # fmt: skip

# What comes in doubled comes out doubled.
_HOMOGENEOUS_FUNCTIONS = (
    keras.activations.linear, keras.activations.relu, keras.activations.leaky_relu,
)  # fmt: skip
_HOMOGENEOUS = (
    keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.Flatten, keras.layers.Reshape,
    keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.ZeroPadding2D,
    keras.layers.AveragePooling2D, keras.layers.MaxPooling2D,
    keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D,
)  # fmt: skip


def followers(model: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Each layer with those that follow it, as far as each alone takes what the one before gives.

    Layers with none are left out. So are subclassed models, for Keras cannot tell what follows what
    in them, but not the models inside of them; and functional models that use a layer twice.
    """
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from followers(layer)
    pairs = _chain(model) if isinstance(model, keras.Sequential) else _graph(model)
    takers = {id(layer): after for layer, after in pairs}
    for layer in model.layers:
        after = []
        taker = takers.get(id(layer))
        while taker is not None:
            after.append(taker)
            taker = takers.get(id(taker))
        if after:
            yield layer, after


def is_scalable(layer: Any) -> bool:
    """Whether a layer gives twice as much with its kernel and bias doubled."""
    scalable = isinstance(layer, _WITH_KERNEL) and layer.activation in _HOMOGENEOUS_FUNCTIONS
    return scalable and has_plain_kernel(layer)


def has_plain_kernel(layer: Any) -> bool:
    """Whether the kernel is a variable of its own: built, not quantised, not adapted (LoRA)."""
    if not layer.built:
        return False
    kernel = kernel_of(layer)
    is_variable = isinstance(kernel, keras.Variable)
    return bool(is_variable and keras.backend.is_float_dtype(kernel.dtype))


def is_homogeneous(layer: Any) -> bool:
    """Whether it gives twice as much for twice as much."""
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in _HOMOGENEOUS_FUNCTIONS
    return isinstance(layer, _HOMOGENEOUS)


def kernel_of(layer: Any) -> Any:
    """The kernel by which what comes out of a layer can be multiplied."""
    separable = isinstance(layer, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D)
    return layer.pointwise_kernel if separable else layer.kernel


def _chain(model: Any) -> list[tuple[Any, Any]]:
    return list(zip(model.layers, model.layers[1:], strict=False))


def _graph(model: Any) -> list[tuple[Any, Any]]:
    """The operations of a functional model whose output one other alone takes, each with that."""
    operations = getattr(model, "operations", [])
    try:
        inputs = [keras.tree.flatten(operation.input) for operation in operations]
        outputs = [keras.tree.flatten(operation.output) for operation in operations]
    except (AttributeError, ValueError):  # one is used twice, so that it has no single input
        return []
    inputs.append(keras.tree.flatten(getattr(model, "outputs", [])))
    takers: dict[int, list[int]] = {}
    for i, taken in enumerate(inputs):
        for tensor in taken:
            takers.setdefault(id(tensor), []).append(i)
    pairs = []
    for operation, out in zip(operations, outputs, strict=True):
        after = takers.get(id(out[0]), [])
        if len(after) == 1 and after[0] < len(operations):
            pairs.append((operation, operations[after[0]]))
    return pairs
