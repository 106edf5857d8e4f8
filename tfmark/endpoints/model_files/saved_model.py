"""Models in SavedModel folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from tfmark.endpoints.model_files.runner import sides
from tfmark.endpoints.signature import Signature, TensorInfo


class SavedModel:
    """A loaded SavedModel; see `Runner`."""

    def __init__(self, path: Path):
        # What the signatures need stays only as long as the loaded object does.
        self._loaded = tf.saved_model.load(str(path))
        self.signatures = tuple(
            Signature(
                name,
                _tensors(function.structured_input_signature[1]),
                _tensors(function.structured_outputs),
            )
            for name, function in self._loaded.signatures.items()
        )
        if not self.signatures:
            raise ValueError("It has no signatures to ask.")

    def run(self, signature: Signature, array: npt.NDArray[Any]) -> Mapping[str, Any]:
        """See `Runner.run`."""
        (tensor,) = signature.inputs
        values = array.tolist() if array.dtype == object else array
        function = self._loaded.signatures[signature.name]
        outputs = function(**{tensor.name: tf.constant(values, tensor.dtype)})
        return {name: output.numpy() for name, output in outputs.items()}


def _tensors(specs: Mapping[str, Any]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(name, spec.dtype.name, None if spec.shape.rank is None else sides(spec.shape))
        for name, spec in sorted(specs.items())
    )
