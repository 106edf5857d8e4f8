"""Writes tensors and parts of requests as JSON in TensorFlow Serving's words."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.serving.rest_errors import RestError

Tensor = npt.NDArray[Any]

ECHO = 256  # characters of a request that an error repeats
_SPELLING = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def write_rows(outputs: dict[str, Tensor]) -> str:
    """Write outputs row by row: bare values of a single output, else one object for each row.

    Raises:
        RestError: if the outputs do not have the same number of rows.
    """
    size = None
    for name, tensor in outputs.items():
        if tensor.ndim == 0:
            raise RestError(f"Tensor name: {name} has no shape information ")
        if size not in (None, len(tensor)):
            problem = f"has inconsistent batch size: {len(tensor)} expecting: {size}"
            raise RestError(f"Tensor name: {name} {problem}")
        size = len(tensor)
    columns = [write_items(name, tensor) for name, tensor in outputs.items()]
    if len(columns) > 1:
        rows = [
            _object(dict(zip(outputs, row, strict=True)), 1) for row in zip(*columns, strict=True)
        ]
    else:
        rows = columns[0]
    return _object({"predictions": array(rows)})


def write_columns(outputs: dict[str, Tensor]) -> str:
    """Write outputs column by column: the value of a single output, else an object of all."""
    columns = {}
    for name, tensor in outputs.items():
        items = write_items(name, tensor)
        columns[name] = array(items) if tensor.ndim else items[0]
    value = _object(columns, 1) if len(columns) > 1 else next(iter(columns.values()))
    return _object({"outputs": value})


def write_results(items: list[str]) -> str:
    """Write the answer to a classify or regress request."""
    return _object({"results": array(items)})


def write_items(name: str, tensor: Tensor) -> list[str]:
    """Write each item of a tensor's first dimension; bytes as base64 if `name` ends in "_bytes".

    Raises:
        RestError: if TensorFlow Serving cannot write its dtype.
    """
    items = _scalars(name, tensor.ravel())
    for axis in range(tensor.ndim - 1, 0, -1):
        size, count = tensor.shape[axis], math.prod(tensor.shape[:axis])
        items = [array(items[i * size : (i + 1) * size]) for i in range(count)]
    return items


def array(items: list[str]) -> str:
    """Write an array of what is written already."""
    return f"[{', '.join(items)}]"


def text(value: bytes | str) -> str:
    """Write a string; bytes that are not UTF-8 stay as they are ("surrogateescape")."""
    decoded = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return json.dumps(decoded, ensure_ascii=False)


def echo(value: Any) -> str:
    """The beginning of what a request held, for an error."""
    return _pretty(value, 0)[:ECHO]


def kind(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names.get(type(value), "Null")


def _scalars(name: str, values: Tensor) -> list[str]:
    dtype = values.dtype
    if dtype in (np.float32, np.float64):
        return _decimals(values)
    if dtype == np.bool_ or (dtype.kind in "iu" and dtype != np.uint16):
        return [json.dumps(value) for value in values.tolist()]
    if dtype.kind != "O":
        type_name = "half" if dtype == np.float16 else dtype.name
        raise RestError(f"Failed to write JSON value for tensor type: {type_name}")
    if name.endswith("_bytes"):
        return [_object({"b64": text(base64.b64encode(raw))}) for raw in values]
    return [text(raw) for raw in values]


def _decimals(values: Tensor) -> list[str]:
    """Six digits where they give the same number, else all; whole numbers with ".0"."""
    digits = 9 if values.dtype == np.float32 else 17
    short = [f"{number:g}" for number in values.tolist()]
    with np.errstate(over="ignore"):
        exact = np.array(short).astype(values.dtype) == values
    written = [
        six if same else f"{number:.{digits}g}"
        for six, same, number in zip(short, exact.tolist(), values.tolist(), strict=True)
    ]
    return [
        _SPELLING.get(number) or (number if "." in number or "e" in number else f"{number}.0")
        for number in written
    ]


def _object(members: dict[str, str], level: int = 0) -> str:
    if not members:
        return "{}"
    indent = "\n" + "    " * level
    lines = [f"{indent}    {text(name)}: {value}" for name, value in members.items()]
    return "{" + ",".join(lines) + indent + "}"


def _pretty(value: Any, level: int) -> str:
    if isinstance(value, dict):
        return _object({name: _pretty(v, level + 1) for name, v in value.items()}, level)
    if isinstance(value, list):
        return array([_pretty(v, level + 1) for v in value])
    return json.dumps(value, ensure_ascii=False)
