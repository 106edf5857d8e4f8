"""Classify and regress: `tf.Example`s in, labels with scores or one number each out."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmark.serving.json_tensors import decode_base64, is_base64, malformed
from tfmark.serving.json_writer import Tensor, array, kind, text, write_items
from tfmark.serving.rest_errors import RestError
from tfmark.serving.saved_model import SavedModel

INT64 = range(-(2**63), 2**63)


def read_examples(request: dict[str, Any]) -> Tensor:
    """Read the examples of a request, each serialized.

    Raises:
        RestError: if there are none, or a feature cannot be one.
    """
    context = _example(request["context"]) if "context" in request else b""
    if "examples" not in request:
        problem = "When method is classify, key 'examples' is expected and was not found"
        raise malformed(request, problem)
    examples = request["examples"]
    if not isinstance(examples, list):
        raise malformed(request, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise malformed(request, "'examples' value is an empty array")
    # Messages behind each other read as one that is merged.
    return np.array([context + _example(example) for example in examples], object)


def classify(model: SavedModel, signature: str, examples: Tensor) -> list[str]:
    """Classify examples.

    Returns:
        The JSON of the labels and scores of each.

    Raises:
        RestError: if the signature cannot classify, or the model refuses the examples.
    """
    message = _signature(model, signature)
    _only_input(message, "classification")
    if len(message.outputs) not in (1, 2):
        problem = f"Expected one or two output Tensors, found {len(message.outputs)}"
        raise RestError(problem)
    if not {"classes", "scores"} & set(message.outputs):
        problem = 'signature outputs to contain at least one of "classes" or "scores".'
        raise RestError(f"Expected classification {problem} Signature was: {message}")
    outputs = model.run(signature, {"inputs": examples})
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, tensor, dtype, type_name in (
        ("classes", classes, np.object_, "DT_STRING"),
        ("scores", scores, np.float32, "DT_FLOAT"),
    ):
        if tensor is None:
            continue
        if tensor.ndim != 2:
            shape = list(tensor.shape)
            raise RestError(f"Expected Tensor shape: [batch_size num_classes] but got {shape}")
        if tensor.dtype != dtype:
            raise RestError(f"Expected {name} Tensor of {type_name}. Got: {tensor.dtype}")
        if len(tensor) != len(examples):
            size = f"{len(examples)}. Got: {len(tensor)}"
            raise RestError(f"Expected {name} output batch size of {size}")
    if classes is None:
        classes = np.full_like(scores, b"", object)
    if scores is None:
        scores = np.zeros(classes.shape, np.float32)
    if classes.shape != scores.shape:
        sizes = f"{classes.shape[1]} vs. {scores.shape[1]}"
        raise RestError(f"Tensors class and score should match in dim_size(1). Got {sizes}")
    return [
        array([array([text(label), score]) for label, score in zip(*row, strict=True)])
        for row in zip(classes, map(_numbers, scores), strict=True)
    ]


def regress(model: SavedModel, signature: str, examples: Tensor) -> list[str]:
    """Run a regression on examples.

    Returns:
        The JSON of the value of each.

    Raises:
        RestError: if the signature cannot do it, or the model refuses the examples.
    """
    message = _signature(model, signature)
    if len(message.outputs) != 1:
        raise RestError("Expected one output Tensor.")
    _only_input(message, "regression")
    if "outputs" not in message.outputs:
        raise RestError(f"No regression outputs found in SignatureDef: {message}")
    values = model.run(signature, {"inputs": examples})["outputs"]
    if values.shape not in ((len(examples),), (len(examples), 1)):
        problem = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]"
        raise RestError(f"{problem} but got {list(values.shape)}")
    if values.dtype != np.float32:
        raise RestError(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    return _numbers(values.ravel())


def _signature(model: SavedModel, name: str) -> Any:
    if name not in model.signatures:
        raise RestError(f"No signature was found with the name: {name}")
    return model.signatures[name]


def _only_input(message: Any, purpose: str) -> None:
    if len(message.inputs) != 1:
        raise RestError("Expected one input Tensor.")
    if "inputs" not in message.inputs:
        raise RestError(f"No {purpose} inputs found in SignatureDef: {message}")


def _numbers(values: Tensor) -> list[str]:
    return write_items("", values)


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise RestError(f"Example must be JSON object but got JSON {kind(value)}")
    features = {name: _feature(name, content) for name, content in value.items()}
    try:
        example = tf.train.Example(features=tf.train.Features(feature=features))
    except UnicodeEncodeError:
        raise RestError("The name of a feature is not UTF-8") from None
    return bytes(example.SerializeToString())


def _feature(name: str, content: Any) -> Any:
    """One feature; the type of its first item decides about the type of all."""
    values = [_item(name, item) for item in (content if isinstance(content, list) else [content])]
    if not values:
        return tf.train.Feature()
    expected = type(values[0])
    type_name = {bytes: "bytes", float: "float", int: "int64"}[expected]
    if any(type(value) is not expected for value in values):
        problem = f"Unexpected element type in feature: {name} expecting type: {type_name}"
        raise RestError(problem)
    if expected is bytes:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if expected is int:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _item(name: str, item: Any) -> bytes | float | int:
    if is_base64(item):
        return decode_base64(item)
    if isinstance(item, str):
        return item.encode("utf-8", "surrogateescape")
    if isinstance(item, int) and item not in INT64:
        raise RestError(f"Feature: {name} has uint64 element. Only int64 is supported.")
    if isinstance(item, int | float):
        return int(item) if isinstance(item, bool) else item
    raise RestError(f"Feature: {name} has element with unexpected JSON type: {kind(item)}")
