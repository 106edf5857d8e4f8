"""One exported model: what it expects, and its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from tfmark.errors import ServingError
from tfmark.serving.json_tensors import Tensor, TensorSpec
from tfmark.serving.rest_errors import RestError

DEFAULT = "serving_default"


class SavedModel:
    """A loaded SavedModel.

    Args:
        name: name under which it is served.
        version: its version.
        folder: where `model.export` wrote it.

    Raises:
        ServingError: if it cannot be loaded.
    """

    def __init__(self, name: str, version: int, folder: Path):
        self.name = name
        self.version = version
        try:
            self._loaded = tf.saved_model.load(str(folder))  # owns the variables
            proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        except Exception as error:  # whatever TensorFlow raises for a broken one
            raise ServingError(f"Cannot load the SavedModel {folder}: {error}") from error
        self._signatures = proto.meta_graphs[0].signature_def

    @property
    def metadata(self) -> dict[str, Any]:
        """All signatures, in protobuf's form of JSON."""
        signatures = {
            name: json_format.MessageToDict(
                signature,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, signature in self._signatures.items()
        }
        return {"signature_def": {"signature_def": signatures}}

    def inputs(self, signature: str) -> dict[str, TensorSpec]:
        """What each input of a signature expects.

        Raises:
            RestError: if there is no such signature.
        """
        if signature not in self._signatures:
            raise RestError(
                400, f'Serving signature name: "{signature}" not found in signature def'
            )
        if signature not in self._loaded.signatures:
            raise RestError(400, f"Failed to get input map for signature: {signature}")
        return {name: _spec(info) for name, info in self._signatures[signature].inputs.items()}

    def predict(self, signature: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run a signature.

        Raises:
            RestError: if the model refuses the inputs.
        """
        tensors = {
            name: tf.constant(value, self.inputs(signature)[name].dtype)
            for name, value in inputs.items()
        }
        try:
            outputs = self._loaded.signatures[signature](**tensors)
        except tf.errors.ResourceExhaustedError as error:
            raise RestError(429, error.message) from None
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise RestError(400, getattr(error, "message", str(error))) from None
        return {name: np.asarray(tensor) for name, tensor in outputs.items()}


def _spec(info: Any) -> TensorSpec:
    dtype = tf.as_dtype(info.dtype)
    shape = info.tensor_shape
    rank = None if shape.unknown_rank else len(shape.dim)
    return TensorSpec(dtype.name, rank)
