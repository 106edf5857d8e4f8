"""The passphrase of a key file: scrypt makes a key of it, AES-256-GCM encrypts with that.

scrypt (RFC 7914) and not Argon2id: Python has it in `hashlib` on any OpenSSL, so that a key can be
opened on any machine for as long as it is needed. Each encryption has a new salt, hence a new key.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

from tfmark.errors import InvalidArgumentError, PassphraseError

TAG = 16  # bytes by which a text grows when it is encrypted
MAX_PASSPHRASE = 1024  # characters
MAX_COST = 1 << 18
MAX_LANES = 4
BLOCK = 8
_MEMORY = 256 * BLOCK * MAX_COST  # bytes, twice what the largest lock takes
_SALT, _NONCE = 16, 12  # bytes
_NAMES = {"kdf": "scrypt", "cipher": "AES-256-GCM"}
_FIELDS = {*_NAMES, "n", "r", "p", "salt", "nonce"}


@dataclass(frozen=True)
class Lock:
    """How a key file is encrypted. Nothing in it is secret.

    With a cost of 2^17 a guess takes 128 MiB and about half a second. A stranger's file may ask for
    256 MiB and a few seconds at most.

    Args:
        salt: 16 bytes.
        nonce: 12 bytes.
        n: cost, a power of two.
        r: size of a block, 8.
        p: lanes.

    Raises:
        InvalidArgumentError: if a value is of the wrong type or out of bounds.
    """

    salt: bytes
    nonce: bytes
    n: int = 1 << 17
    r: int = BLOCK
    p: int = 1

    def __post_init__(self) -> None:
        if not all(type(number) is int for number in (self.n, self.r, self.p)):
            raise InvalidArgumentError("Expected whole numbers n, r and p of scrypt.")
        if not (
            2 <= self.n <= MAX_COST
            and self.n.bit_count() == 1
            and self.r == BLOCK
            and 1 <= self.p <= MAX_LANES
        ):
            raise InvalidArgumentError(
                f"Expected scrypt with n a power of two up to {MAX_COST}, r {BLOCK} and p up to "
                f"{MAX_LANES}. Received: n {self.n:.7g}, r {self.r:.7g}, p {self.p:.7g}"
            )
        if (len(self.salt), len(self.nonce)) != (_SALT, _NONCE):
            raise InvalidArgumentError(
                f"Expected a salt of {_SALT} bytes and a nonce of {_NONCE}. Received: "
                f"{len(self.salt)} and {len(self.nonce)}"
            )

    @classmethod
    def new(cls) -> Lock:
        """One that was never used before."""
        return cls(secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE))

    def encrypt(self, passphrase: str, plain: bytes, bound: bytes) -> bytes:
        """Encrypt `plain`, and bind to it what is not encrypted.

        Raises:
            InvalidArgumentError: if that is no passphrase.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key(passphrase)).encrypt(self.nonce, plain, bound)

    def decrypt(self, passphrase: str, sealed: bytes, bound: bytes) -> bytes:
        """What `encrypt` was given.

        Raises:
            PassphraseError: if the passphrase, or what was bound, is another.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key(passphrase)).decrypt(self.nonce, sealed, bound)
        except InvalidTag:
            pass
        raise PassphraseError("This passphrase does not open this key file.")

    def to_json(self) -> dict[str, Any]:
        """The field "lock" of the header of a key file."""
        numbers = {"n": self.n, "r": self.r, "p": self.p}
        return _NAMES | numbers | {"salt": self.salt.hex(), "nonce": self.nonce.hex()}

    @classmethod
    def from_json(cls, facts: Any) -> Lock:
        """Take it from a header.

        Raises:
            ValueError, TypeError: if it is not as `to_json` makes it.
        """
        if not (isinstance(facts, dict) and facts.keys() == _FIELDS):
            raise InvalidArgumentError(f"Expected a lock of the fields {sorted(_FIELDS)}.")
        if any(facts[name] != value for name, value in _NAMES.items()):
            raise InvalidArgumentError(f"Expected a lock of {' and '.join(_NAMES.values())}.")
        salt, nonce = bytes.fromhex(facts["salt"]), bytes.fromhex(facts["nonce"])
        return cls(salt, nonce, facts["n"], facts["r"], facts["p"])

    def _key(self, passphrase: str) -> bytes:
        return hashlib.scrypt(
            _as_bytes(passphrase), salt=self.salt, n=self.n, r=self.r, p=self.p,
            maxmem=_MEMORY, dklen=32,
        )  # fmt: skip


def _as_bytes(passphrase: str) -> bytes:
    """The bytes of a passphrase, the same from each keyboard. No error shows it."""
    if not isinstance(passphrase, str):
        raise InvalidArgumentError(f"Expected a passphrase of type str, not {type(passphrase)}.")
    if not 0 < len(passphrase) <= MAX_PASSPHRASE:
        raise InvalidArgumentError(
            f"Expected a passphrase of 1 to {MAX_PASSPHRASE} characters. "
            f"Received: {len(passphrase)} characters"
        )
    try:
        return unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        pass
    raise InvalidArgumentError("Expected a passphrase of characters that UTF-8 can express.")
