"""Models in `.tflite` files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.endpoints.model_files.runner import sides
from tfmark.endpoints.signature import DEFAULT, Signature, TensorInfo

try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError:
    import tensorflow as tf

    Interpreter = tf.lite.Interpreter


class TFLite:
    """A loaded TFLite model; see `Runner`.

    A quantised input or output holds integers that stand for real numbers, those of training. Here
    it passes for one of floats.
    """

    def __init__(self, path: Path):
        content = path.read_bytes()
        with warnings.catch_warnings():
            # TensorFlow's own interpreter announces that it moves to ai_edge_litert, used above.
            warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
            self._interpreter = Interpreter(model_content=content)
        self._inputs = self._interpreter.get_input_details()
        names = _names(self._interpreter)
        self._outputs = {
            names.get(details["index"], details["name"]): details
            for details in self._interpreter.get_output_details()
        }
        inputs = tuple(
            _tensor(names.get(details["index"], details["name"]), details)
            for details in self._inputs
        )
        outputs = tuple(_tensor(name, details) for name, details in self._outputs.items())
        self.signatures = (Signature(DEFAULT, inputs, outputs),)

    def run(self, signature: Signature, array: npt.NDArray[Any]) -> Mapping[str, Any]:
        """See `Runner.run`."""
        (details,) = self._inputs
        self._interpreter.resize_tensor_input(details["index"], array.shape)
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(details["index"], _quantized(array, details))
        self._interpreter.invoke()
        return {
            name: _real(self._interpreter.get_tensor(details["index"]), details)
            for name, details in self._outputs.items()
        }


def _names(interpreter: Any) -> dict[int, str]:
    """The names that a signature gives to tensors, by their indices."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(*signatures)
    details = runner.get_input_details() | runner.get_output_details()
    return {detail["index"]: name for name, detail in details.items()}


def _tensor(name: str, details: Any) -> TensorInfo:
    dtype = "float32" if _is_quantized(details) else np.dtype(details["dtype"]).name
    shape = sides(details["shape_signature"].tolist())
    return TensorInfo(name, "string" if dtype.startswith("bytes") else dtype, shape)


def _is_quantized(details: Any) -> bool:
    scale, _ = details["quantization"]
    return bool(scale > 0 and np.issubdtype(details["dtype"], np.integer))


def _quantized(array: npt.NDArray[Any], details: Any) -> npt.NDArray[Any]:
    if not _is_quantized(details):
        return array
    scale, zero_point = details["quantization"]
    levels = np.iinfo(details["dtype"])
    integers: npt.NDArray[Any] = np.rint(array / scale + zero_point)
    return integers.clip(levels.min, levels.max).astype(details["dtype"])


def _real(array: npt.NDArray[Any], details: Any) -> npt.NDArray[Any]:
    if not _is_quantized(details):
        return array
    scale, zero_point = details["quantization"]
    steps: npt.NDArray[Any] = array.astype(np.float64) - zero_point
    return steps * float(scale)
