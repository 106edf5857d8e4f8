"""The kernels of a model, as the mark in the weights sees them: averaged over their filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfmark.weight_secret import can_hold


class Kernel(NamedTuple):
    """The averaged weights of one kernel, and the name of its layer."""

    layer: str
    means: npt.NDArray[np.float64]


def averaged(layer: str, kernel: npt.NDArray[Any]) -> Kernel:
    """Average a kernel over its last axis, the filters."""
    with np.errstate(all="ignore"):  # a suspect's weights may be anything
        return Kernel(layer, kernel.mean(axis=-1, dtype=np.float64).ravel())


def in_model(model: Any, bits: int) -> Iterator[Kernel]:
    """The kernels of a Keras model in memory that can hold so many bits."""
    from keras import ops

    for variable in model.weights:
        if can_hold(tuple(variable.shape), bits):
            yield averaged(layer_of(variable), ops.convert_to_numpy(variable).astype(np.float64))


def layer_of(variable: Any) -> str:
    """The name of a variable's layer, behind those of the models around it."""
    return str(variable.path).rpartition("/")[0]


def is_named(layer: str, name: str | None) -> bool:
    """Whether a layer has this name, with or without models around it; `None` is any."""
    return name is None or f"/{layer}".endswith(f"/{name}")
