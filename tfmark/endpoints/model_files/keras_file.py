"""Models in `.keras` files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from tfmark.endpoints.model_files.runner import sides
from tfmark.endpoints.signature import DEFAULT, Signature, TensorInfo


class KerasFile:
    """A loaded `.keras` file; see `Runner`.

    Classes of one's own have to be registered with Keras before. Code in the file (lambdas) is not
    run.
    """

    def __init__(self, path: Path):
        self._model = load_keras(path)
        self.signatures = (Signature(DEFAULT, _inputs(self._model), _outputs(self._model)),)

    def run(self, signature: Signature, array: npt.NDArray[Any]) -> Mapping[str, Any]:
        """See `Runner.run`."""
        tensor = (
            keras.ops.convert_to_tensor(array.tolist(), "string")
            if array.dtype == object
            else array
        )
        # `predict` would compile the model for each number of images.
        outputs = self._model(_as_inputs(self._model, tensor), training=False)
        return _by_name(keras.tree.map_structure(keras.ops.convert_to_numpy, outputs))


def load_keras(path: Path) -> Any:
    """Load a model without running code in the file, and without what only training needs."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _inputs(model: Any) -> tuple[TensorInfo, ...]:
    try:
        tensors = model.inputs
    except AttributeError:  # a subclassed model does not tell
        return (TensorInfo("", "float32", None),)
    return tuple(TensorInfo(x.name, x.dtype, sides(x.shape)) for x in tensors)


def _as_inputs(model: Any, tensor: Any) -> Any:
    """A tensor in the structure that the model takes its one input in."""
    if not hasattr(model, "input"):
        return tensor
    return keras.tree.pack_sequence_as(model.input, [tensor])


def _outputs(model: Any) -> tuple[TensorInfo, ...]:
    try:
        tensors = model.output if hasattr(model, "output") else model.outputs
    except AttributeError:
        return ()
    named = _by_name(tensors)
    return tuple(TensorInfo(name, y.dtype, sides(y.shape)) for name, y in named.items())


def _by_name(outputs: Any) -> dict[str, Any]:
    """Outputs by their keys or positions, as in `KerasModel`."""
    return {
        "/".join(map(str, path)) or "0": output
        for path, output in keras.tree.flatten_with_path(outputs)
    }
