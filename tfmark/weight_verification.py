"""`tfmark.verify_weights`: reads the mark in the weights of a model that is in hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tfmark.errors import InvalidArgumentError
from tfmark.kernels import Kernel, in_model, is_named
from tfmark.key import WatermarkKey
from tfmark.statistics import binomial_tail
from tfmark.verdict import NOT_SHOWN, OWNED
from tfmark.weight_reader import read_kernels
from tfmark.weight_secret import check_bits
from tfmark.weight_verdict import WeightVerdict


def verify_weights(
    model: Any,
    key: WatermarkKey,
    alpha: float = 1e-9,
    layer: str | None = None,
    bits: int = 256,
) -> WeightVerdict:
    """Read the bits of the owner's key out of a model's weights.

    Of all kernels that can hold the bits, the one with the fewest wrong ones is judged. The bits
    are uniform and secret, so from weights that were made without the key each comes out right with
    probability exactly 1/2, independently of all others, whatever the weights and the projection
    are. The p-value is the binomial tail of the right bits times the number of kernels looked at
    (Bonferroni), which holds however these depend on each other. The weights must have been made
    without knowledge of the key, so the commitment has to be older than the model, and the key
    secret until then.

    Nothing in a file is run. It is read in a process of its own, which needs neither Keras nor
    TensorFlow, as the library that reads it is not made for hostile files.

    Example:
    ```python
    model.save("suspect.keras")
    verdict = tfmark.verify_weights("suspect.keras", key)
    print(verdict)
    ```

    Args:
        model: path of a `.keras` or `.h5` file, or a Keras model in memory.
        key: the owner's `WatermarkKey`.
        alpha: the highest tolerable probability of accusing a model that was made without the key.
            Defaults to 1e-9.
        layer: name of the layer with the mark. Defaults to `None`, all that can hold it.
        bits: number of bits that were written. Defaults to 256.

    Returns:
        A `WeightVerdict`.

    Raises:
        InvalidArgumentError: if an argument cannot work, or no kernel can hold the bits.
        ModelFileError: if the file is damaged.
        OSError: if it cannot be read.

    Reference:
        Uchida et al., "Embedding Watermarks into Deep Neural Networks", ICMR 2017.
    """
    if not (isinstance(alpha, float) and 2.0 ** -check_bits(bits) <= alpha < 1):
        raise InvalidArgumentError(
            f"Invalid value for argument `alpha`. Expected a number from 2**-{bits}, which {bits} "
            f"bits can prove, to below 1. Received: alpha={alpha!r}"
        )
    secret = key.weight_secret
    errors = [
        (secret.errors(bits, means), name)
        for name, means in _kernels(model, bits)
        if is_named(name, layer)
    ]
    if not errors:
        raise InvalidArgumentError(
            f"Expected a model with a {'layer' if layer is None else f'layer {layer!r}'} that can "
            f"hold {bits} bits. Received: one without"
        )
    fewest, where = min(errors)
    p_value = min(1.0, len(errors) * binomial_tail(bits - fewest, bits, 2))
    status = OWNED if p_value <= alpha else NOT_SHOWN
    return WeightVerdict(status, p_value, where, fewest, bits, len(errors), alpha)


def _kernels(model: Any, bits: int) -> Iterable[Kernel]:
    if isinstance(model, str | os.PathLike):
        return read_kernels(model, bits)
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        raise InvalidArgumentError(
            "Invalid value for argument `model`. Expected a .keras or .h5 file, or a Keras model. "
            f"Received: {type(model).__name__}"
        )
    return in_model(model, bits)
