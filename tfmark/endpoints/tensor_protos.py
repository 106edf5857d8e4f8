"""TensorFlow's tensors in protocol buffers (`TensorProto`), without TensorFlow.

`tf.make_ndarray` repeats a value as often as the shape says, and a hostile shape says a lot. Here a
tensor never takes more than the message that it came in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.endpoints.signature import MAX_RANK, TensorInfo
from tfmark.errors import AnswerError

STRING = "string"

# By the numbers of `tensorflow.DataType`: NumPy's name of the dtype, and the field that holds
# single values. Both kinds of half floats stand in theirs as 16 bits each.
_DTYPES = {
    1: ("float32", "float_val"),
    2: ("float64", "double_val"),
    3: ("int32", "int_val"),
    4: ("uint8", "int_val"),
    5: ("int16", "int_val"),
    6: ("int8", "int_val"),
    7: (STRING, "string_val"),
    9: ("int64", "int64_val"),
    10: ("bool", "bool_val"),
    14: ("bfloat16", "half_val"),
    17: ("uint16", "int_val"),
    19: ("float16", "half_val"),
    22: ("uint32", "uint32_val"),
    23: ("uint64", "uint64_val"),
}  # fmt: skip
_NUMBERS = {name: number for number, (name, _) in _DTYPES.items()}


def tensor_info(name: str, info: Any) -> TensorInfo:
    """What a `TensorInfo` message of a signature says."""
    dtype, _ = _DTYPES.get(info.dtype, (f"dtype {info.dtype}", ""))
    shape = info.tensor_shape
    return TensorInfo(
        name, dtype, None if shape.unknown_rank else tuple(side.size for side in shape.dim)
    )


def write_numbers(tensor: Any, array: npt.NDArray[Any], dtype: str) -> None:
    """Put numbers into a `TensorProto`, as those of `dtype`."""
    _write_head(tensor, array.shape, dtype)
    little_endian = _to_bfloat16(array) if dtype == "bfloat16" else array
    tensor.tensor_content = little_endian.astype(little_endian.dtype.newbyteorder("<")).tobytes()


def write_strings(tensor: Any, strings: Sequence[bytes], shape: tuple[int, ...]) -> None:
    """Put bytes into a `TensorProto`."""
    _write_head(tensor, shape, STRING)
    tensor.string_val.extend(strings)


def read_tensor(tensor: Any) -> npt.NDArray[Any]:
    """The array in a `TensorProto`.

    Raises:
        AnswerError: if its values do not fill its shape exactly, or are none that can be read.
    """
    if tensor.dtype not in _DTYPES:
        raise AnswerError(f"An output of the model has the dtype {tensor.dtype}, which is no use.")
    dtype, field = _DTYPES[tensor.dtype]
    sides = [dim.size for dim in tensor.tensor_shape.dim[: MAX_RANK + 1]]
    if tensor.tensor_shape.unknown_rank or len(sides) > MAX_RANK or any(n < 1 for n in sides):
        raise AnswerError("An output of the model has no shape that an array could have.")
    stored = (
        np.dtype("<u2") if field == "half_val" else np.dtype(object if dtype == STRING else dtype)
    )
    content = tensor.tensor_content
    size = len(content) / stored.itemsize if content else len(getattr(tensor, field))
    if size != math.prod(sides) or (content and dtype == STRING):
        raise AnswerError(f"An output of the model does not fill its shape {sides}.")
    if content:
        values = np.frombuffer(content, stored.newbyteorder("<"))
    elif dtype == STRING:
        values = np.array([*tensor.string_val, None], object)[:-1]
    else:
        values = np.array(getattr(tensor, field)).astype(stored)
    if dtype == "bfloat16":
        values = (values.astype("<u4") << 16).view("<f4")
    elif dtype == "float16":
        values = values.view("<f2")
    return values.reshape(sides)


def _write_head(tensor: Any, shape: tuple[int, ...], dtype: str) -> None:
    tensor.dtype = _NUMBERS[dtype]
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)


def _to_bfloat16(array: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The upper 16 bits of each float32, rounded to the nearest, of two as near to the even."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
