r"""The format of a key file: data alone, every field checked, every size bounded.

    "tfmark key 2\n" | length of the header, 4 bytes, big-endian | header, JSON in UTF-8
    | body | SHA-256 of all that stands before

The header is public. It holds "spec" (the fields of `Spec`), "value_range", "commitment",
"weights" and "signer" (in hex, see `Commitment`), "lock" (`Lock`, or null), and what may change:
the fields of `Records`. The body is the secret and behind it the base images, uint8. With a lock it
is encrypted, bound to all of the header but the records, so that these change without the
passphrase: to the magic line, the specification as in the leaves of the commitment, and the rest
as sorted JSON without spaces.

Format 1 is read too. Its header had "secret" (hex), "value_range" and "spec"; its body no secret.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from tfmark import key_records
from tfmark.commitment import Commitment
from tfmark.derivation import SECRET_BYTES, check_secret
from tfmark.errors import InvalidArgumentError, KeyFileError, PassphraseError
from tfmark.key_lock import TAG, Lock
from tfmark.key_records import Records
from tfmark.pixels import Pixels, ValueRange, check_value_range
from tfmark.spec import Spec

MAGIC = b"tfmark key 2\n"
MAGIC_1 = b"tfmark key 1\n"
MAX_HEADER = 1 << 21
MAX_HEADER_1 = 1 << 16
DIGEST = 32

T = TypeVar("T")


@dataclass(frozen=True)
class PublicKeyFacts:
    """All that a key file shows without a passphrase.

    Attributes:
        spec: what the key's marks are made for.
        commitment: what is published of it.
        records: what happened to it.
        lock: how its secret is encrypted, `None` if it is not.
    """

    spec: Spec
    commitment: Commitment
    records: Records
    lock: Lock | None = None

    def __post_init__(self) -> None:
        if self.records.opened > self.spec.num_marks:
            raise InvalidArgumentError(
                f"Expected at most {self.spec.num_marks} opened marks. "
                f"Received: {self.records.opened}"
            )
        self.commitment.check(self.spec)

    @property
    def value_range(self) -> ValueRange:
        """How the training pipeline scales pixels."""
        return self.commitment.value_range

    @property
    def locked(self) -> bool:
        """Whether the key opens with a passphrase alone."""
        return self.lock is not None

    def fixed(self) -> dict[str, Any]:
        """The header without its specification, and without what may change."""
        return {
            "value_range": list(self.value_range),
            "commitment": self.commitment.commitment,
            "weights": self.commitment.weights,
            "signer": self.commitment.signer,
            "lock": None if self.lock is None else self.lock.to_json(),
        }


def pack(facts: PublicKeyFacts, body: bytes) -> bytes:
    """Bring a body, encrypted or not as its facts say, into the format of a key file."""
    whole = {"spec": asdict(facts.spec)} | facts.fixed() | facts.records.to_json()
    header = json.dumps(whole, sort_keys=True).encode()
    content = MAGIC + len(header).to_bytes(4, "big") + header + body
    return content + hashlib.sha256(content).digest()


def unpack(data: bytes) -> tuple[PublicKeyFacts, bytes]:
    """Take facts and body, as it is, out of a key file.

    Raises:
        KeyFileError: if anything about it is not as expected.
    """
    magic = data[: len(MAGIC)]
    if magic not in (MAGIC, MAGIC_1):
        raise KeyFileError("This is not a tfmark key file.")
    content, digest = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise KeyFileError("This key file is damaged or truncated: its checksum does not match.")
    start = len(MAGIC) + 4
    length = int.from_bytes(content[len(MAGIC) : start], "big")
    largest = MAX_HEADER if magic == MAGIC else MAX_HEADER_1
    if length > min(largest, len(content) - start):
        raise KeyFileError(f"This key file is damaged: it claims a header of {length} bytes.")
    header, body = content[start : start + length], content[start + length :]
    parts = _parts if magic == MAGIC else _parts_1
    return checked(lambda: parts(json.loads(header), body))


def close(facts: PublicKeyFacts, secret: bytes, images: Pixels, passphrase: str | None) -> bytes:
    """The body for facts: encrypted if they have a lock, for which a passphrase is needed."""
    body = secret + images.tobytes()
    if facts.lock is None or passphrase is None:
        return body
    return facts.lock.encrypt(passphrase, body, _bound(facts))


def open_body(
    facts: PublicKeyFacts, body: bytes, passphrase: str | None = None
) -> tuple[bytes, Pixels]:
    """The secret and the base images in a body.

    Raises:
        PassphraseError: if it is encrypted, and not with this passphrase.
        KeyFileError: if the facts are not those of this secret.
    """
    if facts.lock is not None:
        if passphrase is None:
            raise PassphraseError("This key file is locked: it opens with its passphrase alone.")
        body = facts.lock.decrypt(passphrase, body, _bound(facts))
    secret = body[:SECRET_BYTES]
    derived = Commitment.derive(facts.spec, secret, facts.value_range)
    if derived != facts.commitment:
        raise KeyFileError("This key file is invalid: its commitment is not that of its secret.")
    pixels = np.frombuffer(body, np.uint8, offset=SECRET_BYTES)
    return secret, pixels.reshape(facts.spec.base_shape)


def checked(make: Callable[[], T]) -> T:
    """Call `make`; say of any value that cannot work that the key file is to blame.

    The cause is not chained: it may hold secrets.
    """
    try:
        return make()
    except InvalidArgumentError as error:
        problem = str(error)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        problem = f"a field is missing or of the wrong type ({type(error).__name__})"
    raise KeyFileError(f"This key file is invalid: {problem}")


def _bound(facts: PublicKeyFacts) -> bytes:
    """What the encryption binds, always the same bytes for the same facts."""
    fixed = json.dumps(facts.fixed(), sort_keys=True, separators=(",", ":")).encode()
    return MAGIC + facts.spec.canonical() + fixed


def _parts(header: Any, body: bytes) -> tuple[PublicKeyFacts, bytes]:
    _check_fields(header, {"spec", "value_range", "commitment", "weights", "signer", "lock"}
                  | key_records.FIELDS)  # fmt: skip
    spec = _spec(header["spec"])
    digests = header["commitment"], header["weights"], header["signer"]
    if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
        raise InvalidArgumentError("Expected digests of 64 hex digits.")
    commitment = Commitment.of(spec, *digests, _value_range(header["value_range"]))
    lock = None if header["lock"] is None else Lock.from_json(header["lock"])
    _check_size(spec, len(body) - SECRET_BYTES - (0 if lock is None else TAG))
    return PublicKeyFacts(spec, commitment, Records.from_json(header), lock), body


def _parts_1(header: Any, body: bytes) -> tuple[PublicKeyFacts, bytes]:
    _check_fields(header, {"secret", "value_range", "spec"})
    spec = _spec(header["spec"])
    secret, value_range = bytes.fromhex(header["secret"]), _value_range(header["value_range"])
    check_secret(secret)
    _check_size(spec, len(body))
    facts = PublicKeyFacts(spec, Commitment.derive(spec, secret, value_range), Records())
    return facts, secret + body


def _check_fields(facts: Any, expected: set[str]) -> None:
    if not isinstance(facts, dict):
        raise InvalidArgumentError("a field is of the wrong type")
    if unknown := facts.keys() ^ expected:
        raise InvalidArgumentError(f"missing or unknown fields {sorted(unknown)}")


def _spec(facts: Any) -> Spec:
    """A specification; older files lack fields that were added later, each with a default."""
    if isinstance(facts, dict):
        facts = {f.name: f.default for f in fields(Spec) if f.default is not MISSING} | facts
    _check_fields(facts, {field.name for field in fields(Spec)})
    return Spec(**facts | {"image_shape": tuple(facts["image_shape"])})


def _value_range(value: Any) -> ValueRange:
    if not isinstance(value, list):
        raise TypeError
    return check_value_range(value)


def _check_size(spec: Spec, size: int) -> None:
    if size != np.prod(spec.base_shape, dtype=np.int64):
        raise InvalidArgumentError(f"{size} bytes of base images, not {spec.base_shape}")
