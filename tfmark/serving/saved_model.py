"""One exported model, loaded as TensorFlow Serving loads it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import config_pb2

from tfmark.errors import ServingError
from tfmark.serving.json_tensors import TensorSpec
from tfmark.serving.json_writer import Tensor
from tfmark.serving.rest_errors import HTTP_STATUS, RestError

_CODES = ["OK", *HTTP_STATUS]
_TYPE_NAMES = {"float16": "half", "float32": "float", "float64": "double"}


class SavedModel:
    """A loaded SavedModel.

    It runs in a session of TensorFlow 1, as in TensorFlow Serving: that takes the signatures of
    `tf.Example`s too, and tensors of other shapes than the signature's where the graph does.

    Args:
        folder: where `model.export` wrote it.

    Attributes:
        signatures: its signatures by name (`SignatureDef` messages).

    Raises:
        ServingError: if it cannot be loaded.
    """

    def __init__(self, folder: Path):
        graph = tf.Graph()
        config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        self._calls: dict[str, Any] = {}
        logger = tf.get_logger()
        level = logger.level
        logger.setLevel(logging.ERROR)  # the loader is deprecated for new code, and says so
        try:
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        except Exception as error:  # whatever TensorFlow raises for a broken one
            raise ServingError(f"Cannot load the SavedModel {folder}: {error}") from error
        finally:
            logger.setLevel(level)
        self.signatures = dict(loaded.signature_def)

    @property
    def metadata(self) -> dict[str, Any]:
        """All signatures, in protobuf's form of JSON."""
        signatures = {
            name: json_format.MessageToDict(
                signature,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, signature in self.signatures.items()
        }
        return {"signature_def": {"signature_def": signatures}}

    def inputs(self, signature: str) -> dict[str, TensorSpec]:
        """What each input of a signature expects, in the order of their names."""
        return {
            name: _spec(info) for name, info in sorted(self.signatures[signature].inputs.items())
        }

    def run(self, signature: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run a signature.

        Returns:
            Its outputs, in the order of their names.

        Raises:
            RestError: if the model refuses the inputs.
        """
        for name, spec in self.inputs(signature).items():
            # A convolution can end the whole process at a rank that is too low (oneDNN's does).
            if spec.rank is not None and inputs[name].ndim < spec.rank:
                shape = ",".join(map(str, inputs[name].shape))
                raise RestError(f"input {name} must be {spec.rank}-dimensional: [{shape}]")
        try:
            values = self._call(signature)(*(inputs[name] for name in sorted(inputs)))
        except tf.errors.OpError as error:
            raise RestError(error.message, _CODES[error.error_code]) from None
        except UnicodeDecodeError as error:  # an error that repeats bytes of the request
            raise RestError(error.object.decode("utf-8", "replace")) from None
        names = sorted(self.signatures[signature].outputs)
        return {name: _array(value) for name, value in zip(names, values, strict=True)}

    def _call(self, signature: str) -> Any:
        if signature not in self._calls:
            message, options = self.signatures[signature], config_pb2.CallableOptions()
            options.feed.extend(message.inputs[name].name for name in sorted(message.inputs))
            options.fetch.extend(message.outputs[name].name for name in sorted(message.outputs))
            # The public `run` refuses other shapes than the placeholder's.
            self._calls[signature] = self._session._make_callable_from_options(options)
        return self._calls[signature]


def _array(value: Any) -> Tensor:
    return np.asarray(value, object if isinstance(value, bytes) else None)


def _spec(info: Any) -> TensorSpec:
    dtype = tf.as_dtype(info.dtype).name
    shape = info.tensor_shape
    rank = None if shape.unknown_rank else len(shape.dim)
    return TensorSpec(_TYPE_NAMES.get(dtype, dtype), rank)
