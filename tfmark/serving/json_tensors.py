"""Between JSON and tensors, as TensorFlow Serving's REST API has them."""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfmark.serving.rest_errors import RestError

Tensor = npt.NDArray[Any]


class TensorSpec(NamedTuple):
    """What an input expects: the name of its dtype, and its rank (`None`: any)."""

    dtype: str
    rank: int | None


def read_request(request: dict[str, Any], specs: dict[str, TensorSpec]) -> dict[str, Tensor]:
    """Read the tensors of a predict request in row ("instances") or columnar ("inputs") format.

    Raises:
        RestError: if they do not fit the inputs.
    """
    if ("instances" in request) == ("inputs" in request):
        problem = "Missing 'inputs' or 'instances' key"
        raise RestError(400, problem if "inputs" not in request else "Not formatted correctly")
    if "inputs" in request:
        columns = request["inputs"]
        if not isinstance(columns, dict) or _is_bytes(columns):
            columns = {_only(specs): columns}
        if missing := specs.keys() - columns.keys():
            raise RestError(400, f"Missing named input: {min(missing)} in 'inputs' object.")
        return {name: to_tensor(columns[name], spec) for name, spec in specs.items()}
    rows = request["instances"]
    if not isinstance(rows, list):
        raise RestError(400, "Expecting 'instances' to be an list/array")
    if not rows:
        raise RestError(400, "'instances' list is empty")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in rows]
    if any(named) != all(named):
        raise RestError(400, f"Unexpected kind of item {named.index(not named[0])} of input list")
    if not named[0]:
        return {(name := _only(specs)): to_tensor(rows, specs[name])}
    for i, row in enumerate(rows):
        if row.keys() != specs.keys():
            raise RestError(400, f"Item {i} of 'instances' must have the keys {sorted(specs)}")
    return {name: to_tensor([row[name] for row in rows], spec) for name, spec in specs.items()}


def to_tensor(value: Any, spec: TensorSpec) -> Tensor:
    """Make a tensor of a JSON value.

    Raises:
        RestError: if the value is ragged or of another type.
    """
    if spec.dtype in ("float16", "half", "bfloat16", "uint16", "complex64", "complex128"):
        raise RestError(501, f"Conversion of JSON Value to type: {spec.dtype}")
    if spec.dtype == "string":
        return np.array(_bytes(value), object)
    try:
        array = np.asarray(value)
    except ValueError:
        raise RestError(400, "Encountered list at unexpected size") from None
    allowed = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}[np.dtype(spec.dtype).kind]
    if array.size and array.dtype.kind not in allowed:
        raise RestError(400, f"JSON Value is not of expected type: {spec.dtype}")
    return array.astype(spec.dtype)


def write_rows(outputs: dict[str, Tensor]) -> list[Any]:
    """Write outputs row by row: bare values of a single output, else one object for each row.

    Raises:
        RestError: if the outputs do not have the same number of rows.
    """
    for name, tensor in outputs.items():
        if tensor.ndim == 0:
            raise RestError(400, f"Tensor name: {name} has no shape information")
    if len({len(tensor) for tensor in outputs.values()}) != 1:
        raise RestError(400, "The outputs have inconsistent batch sizes")
    columns = {name: to_json(name, tensor) for name, tensor in outputs.items()}
    if len(columns) == 1:
        return list(*columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_columns(outputs: dict[str, Tensor]) -> Any:
    """Write outputs column by column: the value of a single output, else an object of all."""
    columns = {name: to_json(name, tensor) for name, tensor in outputs.items()}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def to_json(name: str, tensor: Tensor) -> Any:
    """Write one tensor; bytes as base64 if the output's name ends in "_bytes".

    Raises:
        RestError: if TensorFlow Serving cannot write its dtype.
    """
    kind = tensor.dtype.kind
    if (tensor.dtype.itemsize == 2 and kind not in "iu") or kind == "c":
        raise RestError(400, f"Failed to write JSON value for tensor type: {tensor.dtype.name}")
    if kind != "O":
        return tensor.tolist()
    if name.endswith("_bytes"):
        return _map(tensor.tolist(), lambda raw: {"b64": base64.b64encode(raw).decode()})
    return _map(tensor.tolist(), lambda raw: raw.decode("utf-8", "replace"))


def _only(specs: dict[str, TensorSpec]) -> str:
    if len(specs) != 1:
        raise RestError(400, f"Expecting named inputs {sorted(specs)}, got plain values")
    return next(iter(specs))


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if isinstance(value, str):
        return value.encode()
    if _is_bytes(value):
        try:
            return base64.b64decode(value["b64"], validate=False)
        except (binascii.Error, ValueError, TypeError):
            raise RestError(400, "Unable to base64 decode") from None
    raise RestError(400, "JSON Value is not of expected type: string")


def _map(value: Any, function: Any) -> Any:
    return [_map(item, function) for item in value] if isinstance(value, list) else function(value)
