"""Which tensors of a Keras model can be multiplied by a factor without changing its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

REACH = 3  # sizes in front of one normalisation: they multiply, and float16 ends at 65504

# Each multiplies what comes in by a kernel and adds a bias.
_WITH_KERNEL = (
    keras.layers.Dense,
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D, keras.layers.SeparableConv2D,
)  # fmt: skip

# Each divides what comes in by its size and multiplies by a scale.
_NORMS = (
    keras.layers.BatchNormalization, keras.layers.LayerNormalization,
    keras.layers.GroupNormalization, keras.layers.RMSNormalization,
)  # fmt: skip

# What comes in doubled comes out doubled.
_HOMOGENEOUS_FUNCTIONS = (
    keras.activations.linear, keras.activations.relu, keras.activations.leaky_relu,
)  # fmt: skip
_HOMOGENEOUS = (
    keras.layers.LeakyReLU, keras.layers.PReLU,
    keras.layers.Flatten, keras.layers.Reshape, keras.layers.Permute, keras.layers.RepeatVector,
    keras.layers.Dropout, keras.layers.GaussianDropout,
    keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D, keras.layers.SpatialDropout3D,
    keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D,
    keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D,
    keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D,
    keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D,
    keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D,
    keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D, keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D,
    # these if all of what comes in is doubled
    keras.layers.Add, keras.layers.Average, keras.layers.Subtract, keras.layers.Maximum,
    keras.layers.Minimum, keras.layers.Concatenate,
)  # fmt: skip

_HOMOGENEOUS_OPERATIONS = {"Relu": 1, "Add": 2}  # of `keras.ops`, and how many tensors they take


class Step(NamedTuple):
    """A layer that can change size: between what it takes and what it gives."""

    layer: Any
    taken: int  # number of the size of what it takes
    given: int  # and of what it gives

    @property
    def is_norm(self) -> bool:
        """Whether it is a normalisation, which takes away what size its input has."""
        return isinstance(self.layer, _NORMS)


class Sizes(NamedTuple):
    """The steps of one model, in order, and the sizes that cannot be changed.

    Any factor for each size that is not fixed leaves the model's answers as they are, if kernels
    are multiplied by the ratio of the two sizes that they stand between.
    """

    steps: list[Step]
    fixed: set[int]

    def takers(self, size: int) -> list[Step]:
        """The steps that take what has this size; none if it is fixed."""
        if size in self.fixed:
            return []
        return [step for step in self.steps if step.taken == size]

    def fades(self, size: int, kernels: int = 0) -> bool:
        """Whether normalisation takes a size away again, behind no more kernels than may be."""
        takers = self.takers(size)
        return bool(takers) and all(
            step.is_norm or (kernels + 1 < REACH and self.fades(step.given, kernels + 1))
            for step in takers
        )


def sizes_of(model: Any) -> Iterator[Sizes]:
    """The sizes in a model, and in each model inside of it.

    Nothing is known of subclassed models, for Keras cannot tell what follows what in them, but of
    the models inside of them; nor of functional models that use a layer twice.
    """
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from sizes_of(layer)
    yield _sizes(*(_chain(model) if isinstance(model, keras.Sequential) else _graph(model)))


def scale_of(norm: Any) -> Any:
    """The variable by which a normalisation multiplies, `None` if it has none."""
    return norm.scale if isinstance(norm, keras.layers.RMSNormalization) else norm.gamma


def offset_of(norm: Any) -> Any:
    """The variable that a normalisation adds, `None` if it has none."""
    return getattr(norm, "beta", None)


def kernel_of(layer: Any) -> Any:
    """The kernel by which what comes out of a layer can be multiplied."""
    separable = isinstance(layer, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D)
    return layer.pointwise_kernel if separable else layer.kernel


Operations = list[tuple[Any, list[int], list[int]]]  # each with its inputs and outputs


def _chain(model: Any) -> tuple[Operations, set[int]]:
    ends = {0, len(model.layers)}
    return [(layer, [i], [i + 1]) for i, layer in enumerate(model.layers)], ends


def _graph(model: Any) -> tuple[Operations, set[int]]:
    """The operations of a functional model, and what goes in and comes out of it."""

    def ids(tensors: Any) -> list[int]:
        return [id(tensor) for tensor in keras.tree.flatten(tensors)]

    operations = getattr(model, "operations", [])
    try:
        wired = [(each, ids(each.input), ids(each.output)) for each in operations]
    except (AttributeError, ValueError):  # one is used twice, so that it has no single input
        return [], set()
    return wired, {*ids(getattr(model, "inputs", [])), *ids(getattr(model, "outputs", []))}


def _sizes(operations: Operations, ends: set[int]) -> Sizes:
    """Give one number to the tensors whose sizes are the same, and note which are fixed."""
    same: dict[int, int] = {}

    def number(tensor: int) -> int:
        while tensor in same:
            tensor = same[tensor]
        return tensor

    steps, fixed = [], list(ends)
    for layer, taken, given in operations:
        if _is_homogeneous(layer) or _is_homogeneous_operation(layer, len(taken)):
            first = number(given[0])
            for tensor in map(number, taken):
                if tensor != first:
                    same[tensor] = first
        elif _can_resize(layer):
            steps.append(Step(layer, taken[0], given[0]))
            if not _can_give_size(layer):
                fixed += given
        else:
            fixed += taken + given
    numbered = [Step(layer, number(taken), number(given)) for layer, taken, given in steps]
    return Sizes(numbered, set(map(number, fixed)))


def _can_resize(layer: Any) -> bool:
    """Whether it can take an input of another size: it normalises, or has a kernel of its own."""
    if isinstance(layer, _NORMS):
        return bool(layer.built)
    return isinstance(layer, _WITH_KERNEL) and _has_plain_kernel(layer)


def _can_give_size(layer: Any) -> bool:
    """Whether it can also give an output of another size."""
    if isinstance(layer, _NORMS):
        return scale_of(layer) is not None
    return layer.activation in _HOMOGENEOUS_FUNCTIONS


def _has_plain_kernel(layer: Any) -> bool:
    """Whether the kernel is a variable of its own: built, not quantised, not adapted (LoRA)."""
    if not layer.built:
        return False
    kernel = kernel_of(layer)
    is_variable = isinstance(kernel, keras.Variable)
    return bool(is_variable and keras.backend.is_float_dtype(kernel.dtype))


def _is_homogeneous(layer: Any) -> bool:
    """Whether it gives twice as much for twice as much."""
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in _HOMOGENEOUS_FUNCTIONS
    return isinstance(layer, _HOMOGENEOUS)


def _is_homogeneous_operation(operation: Any, count: int) -> bool:
    """Whether it is one that `keras.ops` left in the model, for as many tensors.

    Keras names their classes, and does not publish them.
    """
    name = type(operation).__name__ if type(operation).__module__.startswith("keras.") else ""
    return _HOMOGENEOUS_OPERATIONS.get(name) == count
