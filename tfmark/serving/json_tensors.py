"""Makes tensors of predict requests, by the rules of TensorFlow Serving."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tfmark.serving.json_writer import Tensor, echo, kind
from tfmark.serving.rest_errors import RestError

MAX_RANK = 32
_FLOATS = {"float": np.float32, "double": np.float64}
_INTEGERS = {  # what a number is read as; smaller types then wrap around
    "int8": np.int32, "int16": np.int32, "int32": np.int32, "uint8": np.int32,
    "int64": np.int64, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip


def _within(dtype: Any) -> Callable[[Any], bool]:
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return lambda value: type(value) is int and low <= value <= high


_FITS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda value: type(value) is bool,
    **dict.fromkeys(_FLOATS, lambda value: type(value) is float or type(value) is int),
    **{name: _within(dtype) for name, dtype in _INTEGERS.items()},
}


class TensorSpec(NamedTuple):
    """What an input expects: TensorFlow's name of its dtype, and its rank (`None`: any)."""

    dtype: str
    rank: int | None


def read_tensors(request: dict[str, Any], specs: dict[str, TensorSpec]) -> dict[str, Tensor]:
    """Read the tensors of a request in row ("instances") or columnar ("inputs") format.

    Raises:
        RestError: if they do not fit the inputs.
    """
    if "instances" not in request:
        if "inputs" not in request:
            raise RestError("Missing 'inputs' or 'instances' key")
        return _columns(request["inputs"], specs)
    if "inputs" in request:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"
        raise malformed(request, f"{problem} to exist ")
    rows = request["instances"]
    if not isinstance(rows, list):
        raise malformed(request, "Expecting 'instances' to be an list/array")
    if not rows:
        raise malformed(request, "No values in 'instances' array")
    return _rows(rows, specs)


def malformed(value: Any, problem: str) -> RestError:
    """The error of a JSON value that is not as it should be."""
    return RestError(f"JSON Value: {echo(value)} {problem}")


def is_base64(value: Any) -> bool:
    """Whether a JSON value stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def decode_base64(value: dict[str, str]) -> bytes:
    """Decode `{"b64": ...}`, with space in it or without padding too.

    Raises:
        RestError: if it is not base64.
    """
    digits = "".join(value["b64"].split())
    padding = "" if digits.endswith("=") else "=" * (-len(digits) % 4)
    try:
        return base64.b64decode(digits + padding, validate=True)
    except (binascii.Error, ValueError):
        raise RestError("Unable to base64 decode") from None


def _columns(columns: Any, specs: dict[str, TensorSpec]) -> dict[str, Tensor]:
    if not isinstance(columns, dict) or is_base64(columns):
        if len(specs) > 1:
            raise RestError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        columns = dict.fromkeys(specs, columns)
    tensors = {}
    for name, spec in specs.items():
        if name not in columns:
            raise RestError(f"Missing named input: {name} in 'inputs' object.")
        values, shape = _flatten(columns[name], spec.dtype)
        tensors[name] = _tensor(values, shape, spec.dtype)
    return tensors


def _rows(rows: list[Any], specs: dict[str, TensorSpec]) -> dict[str, Tensor]:
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise RestError(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_object(rows[0])
    columns: dict[str, list[Any]] = {name: [] for name in specs}
    shapes: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if named != _is_object(row):
            kinds = ("object", "list") if named else ("value/list", "object")
            raise RestError("Expecting {} but got {} at item {} of input list".format(*kinds, i))
        for name, value in row.items() if named else [(next(iter(specs)), row)]:
            with _element(f"{i} key: {name}" if named else f"{i}"):
                if name not in specs:
                    raise RestError(f"JSON object: does not have named input: {name}")
                values, shape = _flatten(value, specs[name].dtype)
                _check_shape(shape, shapes.setdefault(name, shape))
                columns[name] += values
        if named and row.keys() != specs.keys():
            problem = f"JSON object: {echo(row)} keys must be equal to: {','.join(specs)}"
            raise RestError(f"Failed to process element: {i} of 'instances' list. {problem}")
    return {
        name: _tensor(columns[name], [len(rows), *shapes[name]], spec.dtype)
        for name, spec in specs.items()
    }


@contextmanager
def _element(which: str) -> Iterator[None]:
    """Say in an error which row it was."""
    try:
        yield
    except RestError as error:
        problem = f"Failed to process element: {which} of 'instances' list."
        raise RestError(f"{problem} Error: {error.code}: {error}") from None


def _is_object(row: Any) -> bool:
    return isinstance(row, dict) and not is_base64(row)


def _check_shape(shape: list[int], expected: list[int]) -> None:
    size, expected_size = int(np.prod(shape)), int(np.prod(expected))
    if size != expected_size:
        raise RestError(f"Expecting tensor size: {expected_size} but got: {size}")
    if shape != expected:
        raise RestError(f"Expecting shape {_written(expected)} but got: {_written(shape)}")


def _written(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _flatten(value: Any, dtype: str) -> tuple[list[Any], list[int]]:
    """The checked values of a JSON value, and its shape, which its first items decide."""
    shape: list[int] = []
    item = value
    while isinstance(item, list):
        shape.append(len(item))
        item = item[0] if item else None
    if len(shape) > MAX_RANK:
        raise RestError(f"Expecting a tensor of rank at most {MAX_RANK} but got: {len(shape)}")
    values: list[Any] = []
    _fill(values, value, 0, shape, dtype)
    return values, shape


def _fill(values: list[Any], value: Any, level: int, shape: list[int], dtype: str) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            where = f"found at incorrect level: {level + 1} in the JSON DOM."
            raise malformed(value, f"{where} Expected at level: {len(shape)}")
        values.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        problem = f"unexpected level: {level} expected < {len(shape)}"
        raise RestError(f"Encountered list at {problem}")
    if len(value) != shape[level]:
        problem = f"unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        raise RestError(f"Encountered list at {problem}")
    fits = _FITS.get(dtype)
    if fits and level + 1 == len(shape) and all(map(fits, value)):  # fast: no call for each
        values += value
        return
    for item in value:
        _fill(values, item, level + 1, shape, dtype)


def _scalar(value: Any, dtype: str) -> Any:
    if dtype not in _FITS and dtype != "string":
        problem = f"Conversion of JSON Value: {echo(value)} to type: {dtype}"
        raise RestError(problem, "UNIMPLEMENTED")
    if dtype == "string" and isinstance(value, dict):
        if not is_base64(value):
            raise malformed(value, "not formatted correctly for base64 data")
        return decode_base64(value)
    if dtype == "string" and isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if dtype == "string" or not _FITS[dtype](value):
        raise malformed(value, f"Type: {kind(value)} is not of expected type: {dtype}")
    return value


def _tensor(values: list[Any], shape: list[int], dtype: str) -> Tensor:
    if dtype == "string":
        return np.array(values, object).reshape(shape)
    if dtype not in _FLOATS:
        return np.array(values, _INTEGERS.get(dtype, np.bool_)).astype(dtype).reshape(shape)
    with np.errstate(over="ignore"):
        tensor = np.array(values, np.float64).astype(_FLOATS[dtype])
    tensor[np.abs(tensor) < np.finfo(tensor.dtype).tiny] *= 0  # its processor mode has no denormals
    return tensor.reshape(shape)
