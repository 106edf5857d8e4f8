"""What TensorFlow Serving's `/metadata` says about a model's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from tfmark.errors import AnswerError

_FLOATS = ("DT_FLOAT", "DT_DOUBLE")
_INTEGERS = ("DT_UINT8", "DT_INT16", "DT_INT32", "DT_INT64", "DT_UINT16", "DT_UINT32", "DT_UINT64")
_UNNAMED = "serving_default"
MAX_BATCH = 1024


@dataclass(frozen=True)
class Signature:
    """A model's input.

    Attributes:
        shape: shape of one image, -1 where any size will do.
        batch_size: number of images that each request must have, `None` if any will do.
        integer: whether pixels are whole numbers from 0 to 255.
    """

    shape: tuple[int, ...]
    batch_size: int | None = None
    integer: bool = False

    def shape_for(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in which images of `image_shape` are sent.

        It is checked before anything is sent: a tensor of the wrong rank can end a real TensorFlow
        Serving, and one of the wrong size may be answered all the same.

        Raises:
            AnswerError: if they do not fit.
        """
        pairs = zip(self.shape, image_shape, strict=False)
        if len(self.shape) == len(image_shape) and all(a in (-1, b) for a, b in pairs):
            return image_shape
        flat = (math.prod(image_shape),)
        if self.shape == flat or _without_ones(self.shape) == _without_ones(image_shape):
            return self.shape  # flattened, or with or without an axis for a single channel
        raise AnswerError(
            f"The model expects images of shape {brief(self.shape)}; the key is for {image_shape}."
        )


def signature_from(
    metadata: Any, name: str | None, image_shape: tuple[int, ...]
) -> Signature | None:
    """Read one signature.

    Args:
        metadata: the parsed answer of `/metadata`.
        name: name of the signature, or `None` for the default.
        image_shape: taken where the metadata leaves the shape open.

    Returns:
        The signature, or `None` if this is not such metadata.

    Raises:
        AnswerError: if the model has no such signature, or one that cannot be asked.
    """
    try:
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        known = sorted(s for s in signatures if not s.startswith("__"))
        if (name or _UNNAMED) not in known:
            raise AnswerError(
                f"The model has no signature {name or _UNNAMED!r}, only {brief(known)}."
            )
        inputs = signatures[name or _UNNAMED]["inputs"]
        if len(inputs) != 1:
            raise AnswerError(
                f"The model expects several inputs {brief(sorted(inputs))}, not one image."
            )
        (tensor,) = inputs.values()
        dtype, shape = tensor["dtype"], tensor["tensor_shape"]
        sizes = None if shape["unknown_rank"] else [int(dim["size"]) for dim in shape["dim"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if dtype not in _FLOATS + _INTEGERS:
        raise AnswerError(f"The model expects {brief(dtype)}, not images as arrays of numbers.")
    if sizes is None:
        return Signature(image_shape, integer=dtype in _INTEGERS)
    if not sizes:
        raise AnswerError("The model expects a single number, not images.")
    if sizes[0] > MAX_BATCH:
        raise AnswerError(f"The model expects {brief(sizes[0])} images at once, too many to send.")
    batch_size = sizes[0] if sizes[0] > 0 else None
    return Signature(tuple(sizes[1:]), batch_size, dtype in _INTEGERS)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]
