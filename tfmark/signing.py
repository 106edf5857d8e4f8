"""The owner's signature under evidence: Ed25519 (RFC 8032), with a key that is committed to."""

from __future__ import annotations


def verification_key(signing_key: bytes) -> bytes:
    """The public half of a signing key of 32 bytes, 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key().public_bytes_raw()


def sign(signing_key: bytes, content: bytes) -> bytes:
    """The signature under some content, 64 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(signing_key).sign(content)


def is_signed(key: bytes, content: bytes, signature: bytes) -> bool:
    """Whether this is the signature that belongs to a verification key, under this content."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True
