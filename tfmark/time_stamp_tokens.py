"""RFC 3161 responses read: bounded, whatever is in them, and nothing of it believed yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import rfc3161_client
from cryptography import x509
from rfc3161_client import PKIStatus, TimeStampResponse

from tfmark.errors import TimeStampError
from tfmark.time_stamp_certificates import load_certificate, unwarned
from tfmark.time_stamp_order import sort_certificates

MAX_RESPONSE = 1 << 16  # bytes; those of real authorities have 2 to 10 thousand
_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@contextmanager
def reading() -> Iterator[None]:
    """Whatever else is raised in here, the bytes of a stranger are the cause."""
    try:
        with unwarned():
            yield
    except TimeStampError:
        raise
    except BaseException as error:
        kind = type(error).__name__
        if not isinstance(error, Exception) and kind != "PanicException":  # one of Rust
            raise
        raise TimeStampError(f"This is no time stamp (RFC 3161) in DER ({kind}).") from None


def read_token(response: bytes) -> TimeStampResponse:
    """Read a response.

    Raises:
        TimeStampError: if it is too large, a refusal, or not of one signer.
    """
    if len(response) > MAX_RESPONSE:
        raise TimeStampError(
            f"Expected a time stamp of at most {MAX_RESPONSE} bytes. Received: {len(response)}"
        )
    token = rfc3161_client.decode_timestamp_response(sort_certificates(response))
    status = PKIStatus(token.status)
    if status != PKIStatus.GRANTED:  # "with modifications" would be of what was not asked for
        said = printable(", ".join([status.name.lower(), *token.status_string]))
        raise TimeStampError(f"The authority refused to stamp ({said}).")
    if len(token.signed_data.signer_infos) != 1:
        raise TimeStampError(
            f"Expected one signer of a time stamp. Received: {len(token.signed_data.signer_infos)}"
        )
    return token


def hash_name(algorithm: x509.ObjectIdentifier) -> str:
    """The name of a hash.

    Raises:
        TimeStampError: if it is none that is trusted.
    """
    name = _HASHES.get(algorithm.dotted_string)
    if name is None:
        received = algorithm.dotted_string
        raise TimeStampError(f"Expected SHA-256, SHA-384 or SHA-512. Received: {received}")
    return name


def certificates_in(token: TimeStampResponse) -> list[x509.Certificate]:
    """The certificates that came with a token."""
    return list(map(load_certificate, token.signed_data.certificates))


def named_in(
    token: TimeStampResponse, certificates: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """The certificates that the token says to be signed with."""
    (one,) = token.signed_data.signer_infos
    name = one.issuer, one.serial_number
    return [each for each in certificates if (each.issuer, each.serial_number) == name]


def printable(text: str) -> str:
    """Words of a stranger, fit to be shown."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]
