"""What the mark in the weights is: secret bits, and a secret projection of a layer's weights.

    bits       = SHAKE-256(k_weights || commitment || "weights/bits")
    signs      = SHAKE-256(k_weights || commitment || "weights/signs"), +1 for a 1 and -1 for a 0
    mean_j     = mean over the filters of weight j of each, j in the order of the kernel
    bit i reads 1  if  sum over j of signs[j, i] * mean_j  is above 0

The signs stand for the Gaussian projection of Uchida et al.: they have the same mean and variance
and no floating-point arithmetic in them. They are drawn weight by weight, so a shorter layer uses
the first of them.

Reference:
    Uchida et al., "Embedding Watermarks into Deep Neural Networks", ICMR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.derivation import Stream
from tfmark.errors import InvalidArgumentError

MAX_BITS = 4096
MAX_WEIGHTS = 1 << 18  # after averaging; the widest flattened images in use have 150,528
_AT_ONCE = 1 << 22  # signs that are unpacked together, in bytes

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class WeightSecret:
    """The key of the mark in the weights.

    Whoever is shown `key` can check it against the public commitment (`derivation.weight_digest`)
    and read the mark; the marks on images stay secret.

    Attributes:
        key: 32 bytes, `derivation.weight_key` of the owner's secret.
        root: the commitment, 32 bytes.
    """

    key: bytes = field(repr=False)
    root: bytes

    def bits(self, count: int) -> Bits:
        """The secret bits, zeros and ones."""
        packed = Stream(self.key, self.root, b"weights/bits").read(count // 8)
        return np.unpackbits(np.frombuffer(packed, np.uint8))

    def towards(self, count: int, weights: int) -> npt.NDArray[np.int8]:
        """The projection, turned so that every product with averaged weights should be positive.

        Args:
            count: number of bits.
            weights: number of averaged weights.

        Returns:
            An int8 array of shape (weights, count) of +1 and -1.
        """
        signs = np.unpackbits(self._packed_signs(count, weights), axis=1).view(np.int8)
        return (2 * signs - 1) * (2 * self.bits(count).view(np.int8) - 1)

    def errors(self, count: int, means: npt.NDArray[np.float64]) -> int:
        """How many of the secret bits the averaged weights do not hold."""
        packed = self._packed_signs(count, len(means))
        sums = np.zeros(count)
        step = max(1, _AT_ONCE // count)
        with np.errstate(all="ignore"):  # a suspect's weights may be anything
            for start in range(0, len(means), step):
                ones = np.unpackbits(packed[start : start + step], axis=1)
                sums += means[start : start + step] @ (2.0 * ones - 1)
        return int(np.count_nonzero((sums > 0) != self.bits(count)))

    def _packed_signs(self, count: int, weights: int) -> npt.NDArray[np.uint8]:
        stream = Stream(self.key, self.root, b"weights/signs")
        packed = np.frombuffer(stream.read(weights * count // 8), np.uint8)
        return packed.reshape(weights, count // 8)


def check_bits(bits: Any) -> int:
    """A number of bits that can be written and read.

    Raises:
        InvalidArgumentError: if it cannot.
    """
    if type(bits) is not int or bits % 8 or not 8 <= bits <= MAX_BITS:
        raise InvalidArgumentError(
            f"Invalid value for argument `bits`. Expected a multiple of 8 from 8 to {MAX_BITS}. "
            f"Received: bits={bits!r}"
        )
    return bits


def averaged_size(shape: tuple[int, ...]) -> int:
    """How many numbers are left of a kernel of this shape once its filters are averaged."""
    return int(np.prod(shape[:-1], dtype=np.int64)) if len(shape) > 1 else 0


def can_hold(shape: tuple[int, ...], bits: int) -> bool:
    """Whether a kernel of this shape can hold so many bits."""
    return bits <= averaged_size(shape) <= MAX_WEIGHTS
