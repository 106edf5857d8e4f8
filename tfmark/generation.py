"""Makes the parts of a new key from what the owner gives."""

from __future__ import annotations

import operator
import secrets
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tfmark import base_images as bases
from tfmark.commitment import Commitment
from tfmark.derivation import SECRET_BYTES, Stream, check_secret, subkey
from tfmark.errors import InvalidArgumentError
from tfmark.marks import content, unrelated
from tfmark.pixels import Pixels, ValueRange, check_value_range, infer_value_range
from tfmark.spec import Purpose, Spec
from tfmark.statistics import default_num_marks


def generate(
    scheme: str,
    image_shape: Any,
    num_classes: int,
    base_images: Any,
    num_marks: int | None,
    value_range: Any,
    text: str | None,
    unrelated_images: Any,
    owner: str,
    secret: bytes | None,
) -> tuple[bytes, Spec, Pixels, ValueRange]:
    """Make the secret, the specification, the base images and the value range of a key.

    See `WatermarkKey.generate` for the arguments and errors.
    """
    secret = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
    check_secret(secret)
    num_classes = _plain(num_classes)
    count = default_num_marks(num_classes) if num_marks is None else _plain(num_marks)
    purpose = Purpose(scheme, _as_shape(image_shape), num_classes, count, text or "",
                      owner=owner)  # fmt: skip
    if unrelated_images is not None and scheme != "unrelated":
        raise InvalidArgumentError('`unrelated_images` are for scheme="unrelated" alone.')
    if scheme == "content":
        content.check_text(purpose.text, *purpose.shape[:2])
    value_range = _value_range(value_range, base_images)

    if scheme != "unrelated":
        order = Stream(secret, b"tfmark/v1/order")
        pool = bases.ordinary(base_images, purpose.image_shape, count, value_range, order)
        kept = pool.shape[1] // 2
    elif unrelated_images is not None:
        pool = bases.foreign(unrelated_images, purpose.shape)
        count = _as_many_as_possible(num_marks, count, len(pool), purpose.shape[2])
        kept = pool.shape[1] // 4
    else:
        subkeys = [subkey(secret, index) for index in range(count)]
        streams = [Stream(key, b"tfmark/v1/symbol") for key in subkeys]
        pool = unrelated.render_symbols(*purpose.shape[:2], streams)
        kept = pool.shape[1] // 4

    groups, per_group, _, _, channels = pool.shape
    facts = asdict(purpose) | {"num_marks": count}
    spec = Spec(**facts, base_groups=groups, base_per_group=per_group, base_channels=channels,
                num_verification=kept, base_root=bases.root(pool).hex())  # fmt: skip
    bound = Commitment.derive(spec, secret, value_range).binding
    return secret, replace(spec, bound=bound), pool, value_range


def _as_shape(image_shape: Any) -> tuple[int, ...]:
    try:
        return tuple(operator.index(side) for side in image_shape)
    except TypeError:
        raise InvalidArgumentError(
            "Invalid value for argument `image_shape`. Expected (height, width) or (height, width, "
            f"channels). Received: image_shape={image_shape!r}"
        ) from None


def _plain(number: Any) -> Any:
    """An integer of NumPy's as one of Python's; anything else as it is, to be refused."""
    return int(number) if isinstance(number, np.integer) else number


def _value_range(value_range: Any, base_images: Any) -> ValueRange:
    if value_range is not None:
        return check_value_range(value_range)
    if base_images is None:
        raise InvalidArgumentError("Expected `base_images` or `value_range`, got neither.")
    return infer_value_range(bases.as_images(base_images, "base_images"))


def _as_many_as_possible(wanted: int | None, count: int, groups: int, channels: int) -> int:
    """The number of marks that groups of foreign images can make, unless more were asked for."""
    most = unrelated.max_marks(groups, channels)
    if wanted is not None and wanted > most:
        raise InvalidArgumentError(
            f"Invalid value for argument `num_marks`. Expected at most {most} for {groups} class "
            f"ids of unrelated images. Received: {wanted}"
        )
    return min(count, most)
