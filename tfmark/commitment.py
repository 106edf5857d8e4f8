"""The public document that binds a key: what is published, and time-stamped, before a release."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tfmark.derivation import (
    leaf,
    merkle_root,
    signing_key,
    subkey,
    weight_digest,
    weight_key,
)
from tfmark.errors import CommitmentError, InvalidArgumentError
from tfmark.pixels import ValueRange, check_value_range
from tfmark.signing import verification_key
from tfmark.spec import Spec

KIND = "tfmark commitment 1"
MAX_DOCUMENT = 1 << 14  # bytes
_DIGEST = re.compile("[0-9a-f]{64}")  # one spelling: `bytes.fromhex` takes capitals and spaces too
_NUMBERS = ("num_classes", "num_marks")
_MALFORMED = ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError


@dataclass(frozen=True)
class Commitment:
    """What the owner of a key publishes. Nothing in it is secret.

    `document` is the file `commitment.json`, always the same bytes for the same key: a time stamp
    is made over them, and standard tools can check it (`openssl ts -verify -data`).

    Attributes:
        commitment: Merkle root over the marks, 64 hex digits.
        weights: digest of the key of the mark in the weights, 64 hex digits.
        signer: Ed25519 key with which the owner's signature under evidence is checked, 64 hex
            digits.
        scheme: kind of mark.
        image_shape: shape of one image.
        num_classes: number of classes K.
        num_marks: number of marks.
        value_range: how triggers are scaled before they are sent, (lowest, highest). It is bound
            here, as whoever may choose it afterwards has many tries.
        owner: who says that a model is theirs, "" if nobody is named.
    """

    commitment: str
    weights: str
    signer: str
    scheme: str
    image_shape: tuple[int, ...]
    num_classes: int
    num_marks: int
    value_range: ValueRange
    owner: str

    @classmethod
    def of(
        cls, spec: Spec, root: str, weights: str, signer: str, value_range: ValueRange
    ) -> Commitment:
        """The commitment of a key with this specification and Merkle root."""
        return cls(
            root, weights, signer, spec.scheme, spec.image_shape, spec.num_classes,
            spec.num_marks, value_range, spec.owner,
        )  # fmt: skip

    @property
    def binding(self) -> str:
        """Digest over who signs and what marks the weights, which each mark binds.

        The scale is not in it: the same key serves pipelines that scale in other ways.
        """
        keys = bytes.fromhex(self.signer + self.weights)
        return sha256(b"tfmark/v2/bound" + keys).hexdigest()

    def check(self, spec: Spec) -> None:
        """Check that this is what is published of a key with this specification.

        Raises:
            CommitmentError: if it is not.
        """
        terms = self.commitment, self.weights, self.signer, self.value_range
        if self != self.of(spec, *terms) or spec.bound not in ("", self.binding):
            raise CommitmentError("The commitment and the specification of the marks do not agree.")

    @classmethod
    def derive(cls, spec: Spec, secret: bytes, value_range: ValueRange) -> Commitment:
        """The commitment of the key with this secret."""
        facts, subkeys = spec.canonical(), (subkey(secret, i) for i in range(spec.num_marks))
        root = merkle_root([leaf(i, key, facts) for i, key in enumerate(subkeys)])
        weights, signer = weight_digest(weight_key(secret)), verification_key(signing_key(secret))
        return cls.of(spec, root.hex(), weights.hex(), signer.hex(), value_range)

    @property
    def document(self) -> bytes:
        """The bytes of `commitment.json`."""
        facts = {
            "tfmark": KIND,
            "owner": self.owner,
            "commitment": self.commitment,
            "weights": self.weights,
            "signer": self.signer,
            "scheme": self.scheme,
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "num_marks": self.num_marks,
            "value_range": list(self.value_range),
        }
        return json.dumps(facts, indent=2).encode("ascii") + b"\n"


def read_commitment(document: bytes) -> Commitment:
    """Read a `commitment.json`.

    Raises:
        CommitmentError: if it is not one, or written in another way than tfmark does.
    """
    if len(document) > MAX_DOCUMENT:
        raise CommitmentError(
            f"Expected a commitment of at most {MAX_DOCUMENT} bytes. Received: {len(document)}"
        )
    try:
        facts = json.loads(document)
        read = _commitment(facts)
    except _MALFORMED as error:
        problem = str(error) if isinstance(error, InvalidArgumentError) else type(error).__name__
        raise CommitmentError(f"This is no commitment of tfmark ({problem}).") from None
    if read.document != document:
        raise CommitmentError("This commitment is not written as tfmark writes it, byte for byte.")
    return read


def _commitment(facts: dict[str, Any]) -> Commitment:
    root, weights, signer = digests = facts["commitment"], facts["weights"], facts["signer"]
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise InvalidArgumentError("Expected digests of 64 hex digits, in lower case.")
    if not all(type(facts[name]) is int for name in _NUMBERS):
        raise InvalidArgumentError("Expected whole numbers.")
    if not all(isinstance(facts[name], str) for name in ("scheme", "owner")):
        raise InvalidArgumentError("Expected texts.")
    return Commitment(
        root,
        weights,
        signer,
        scheme=facts["scheme"],
        image_shape=tuple(facts["image_shape"]),
        num_classes=facts["num_classes"],
        num_marks=facts["num_marks"],
        value_range=check_value_range(tuple(facts["value_range"])),
        owner=facts["owner"],
    )
