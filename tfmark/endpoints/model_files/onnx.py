"""Models in `.onnx` files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime

from tfmark.endpoints.model_files.runner import sides
from tfmark.endpoints.signature import DEFAULT, Signature, TensorInfo

_DTYPES = {"float": "float32", "double": "float64"}
_FATAL = 4  # ONNX Runtime's level of what it logs: errors are raised as well


class Onnx:
    """A loaded ONNX model; see `Runner`."""

    def __init__(self, path: Path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        self._session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # to the same provider, with a print on standard output
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.signatures = (
            Signature(DEFAULT, tuple(map(_tensor, inputs)), tuple(map(_tensor, outputs))),
        )

    def run(self, signature: Signature, array: npt.NDArray[Any]) -> Mapping[str, Any]:
        """See `Runner.run`."""
        (tensor,) = signature.inputs
        names = [output.name for output in signature.outputs]
        return dict(zip(names, self._session.run(names, {tensor.name: array}), strict=True))


def _tensor(tensor: Any) -> TensorInfo:
    match = re.fullmatch(r"tensor\((\w+)\)", tensor.type)
    dtype = match[1] if match else tensor.type
    # Of a shape without sides ONNX Runtime does not say whether it is none, or not known.
    return TensorInfo(tensor.name, _DTYPES.get(dtype, dtype), sides(tensor.shape) or None)
