"""How everything secret and everything public follows from the owner's secret.

Pure functions on bytes, pinned by known-answer tests: the same secret and the same specification
give the same marks and labels on any machine, for as long as there is a format "v1".

    k_i        = HMAC-SHA256(secret, "tfmark/v1/mark" || i)
    leaf_i     = SHA-256("tfmark/v1/leaf" || i || k_i || spec)
    commitment = Merkle root over all leaf_i
    pattern_i, label_i  are drawn from SHAKE-256(k_i || commitment || purpose)
    k_weights  = HMAC-SHA256(secret, "tfmark/v1/weights")
    k_signing  = HMAC-SHA256(secret, "tfmark/v1/signing")

`i` is four bytes, big-endian. Labels depend on the root, and the root on every subkey: nobody can
try out subkeys one by one until the labels suit somebody else's model.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from tfmark.errors import InvalidArgumentError

SECRET_BYTES = 32


def check_secret(secret: object) -> None:
    """Refuse what is no secret; the message does not show it.

    Raises:
        InvalidArgumentError: if it is not `SECRET_BYTES` bytes.
    """
    if not (isinstance(secret, bytes) and len(secret) == SECRET_BYTES):
        raise InvalidArgumentError(f"Expected a secret of {SECRET_BYTES} bytes.")


def subkey(secret: bytes, index: int) -> bytes:
    """The 32 bytes from which mark `index` is made. Opening them reveals no other mark."""
    return hmac.digest(secret, b"tfmark/v1/mark" + _number(index), "sha256")


def weight_key(secret: bytes) -> bytes:
    """The 32 bytes from which the mark in the weights is made, bound by their `weight_digest`."""
    return hmac.digest(secret, b"tfmark/v1/weights", "sha256")


def signing_key(secret: bytes) -> bytes:
    """The 32 bytes with which the owner signs evidence."""
    return hmac.digest(secret, b"tfmark/v1/signing", "sha256")


def weight_digest(key: bytes) -> bytes:
    """What the commitment says of the key of the mark in the weights."""
    return hashlib.sha256(b"tfmark/v1/weights-leaf" + key).digest()


def leaf(index: int, key: bytes, spec: bytes) -> bytes:
    """What the commitment binds for mark `index`: its subkey and the specification."""
    return hashlib.sha256(b"tfmark/v1/leaf" + _number(index) + key + spec).digest()


def base_leaf(index: int, pixels: bytes) -> bytes:
    """What the specification binds for base image `index`: its position and its pixels."""
    return hashlib.sha256(b"tfmark/v1/base" + _number(index) + pixels).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the binary hash tree over `leaves`.

    A tree of n > 1 leaves splits at the largest power of two below n, as in RFC 6962, so that
    each number of leaves has exactly one tree. Inner nodes have a prefix of their own: a node
    cannot be passed off as a leaf.
    """
    if not leaves:
        raise ValueError("A Merkle tree needs at least one leaf.")
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The nodes beside the way from leaf `index` up to the root, the lowest first."""
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*merkle_path(leaves[:split], index), merkle_root(leaves[split:]))
    return (*merkle_path(leaves[split:], index - split), merkle_root(leaves[:split]))


def root_above(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root of a tree of `count` leaves in which `leaf` has this index and this path.

    `None` if no such tree has such an index, or a path of this length there.
    """
    if not 0 <= index < count:
        return None
    if count == 1:
        return leaf if not path else None
    if not path:
        return None
    split = _split(count)
    *lower, beside = path
    if index < split:
        inner = root_above(leaf, index, split, lower)
        return None if inner is None else _node(inner, beside)
    inner = root_above(leaf, index - split, count - split, lower)
    return None if inner is None else _node(beside, inner)


class Stream:
    """An endless stream of bytes, and of exactly uniform numbers, from SHAKE-256.

    Args:
        *parts: bytes that are hashed one behind the other. All but the last have a fixed length,
            so that no two lists of parts give the same stream.
    """

    def __init__(self, *parts: bytes):
        self._shake = hashlib.shake_256(b"".join(parts))
        self._buffer = b""
        self._position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        start, end = self._position, self._position + size
        if end > len(self._buffer):
            self._buffer = self._shake.digest(max(end, 2 * len(self._buffer)))
        self._position = end
        return self._buffer[start:end]

    def below(self, bound: int) -> int:
        """A number from 0 to `bound - 1`, each equally likely (by rejection, without bias)."""
        limit = 2**32 - 2**32 % bound
        while True:
            number = int.from_bytes(self.read(4), "big")
            if number < limit:
                return number % bound

    def shuffled(self, count: int) -> list[int]:
        """The numbers 0 to `count - 1` in an order drawn uniformly (Fisher and Yates)."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def mark_stream(key: bytes, commitment: bytes, purpose: bytes) -> Stream:
    """The stream that a mark's "pattern" or "label" is drawn from.

    Args:
        key: subkey of the mark.
        commitment: the Merkle root, 32 bytes.
        purpose: b"pattern" or b"label".
    """
    return Stream(key, commitment, purpose)


def mark_label(key: bytes, commitment: bytes, num_classes: int) -> int:
    """The label of the mark with this subkey, uniform from 0 to `num_classes - 1`."""
    return mark_stream(key, commitment, b"label").below(num_classes)


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"tfmark/v1/node" + left + right).digest()


def _number(index: int) -> bytes:
    return index.to_bytes(4, "big")
