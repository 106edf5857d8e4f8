"""Time stamps (RFC 3161): proof that a document was there at a time, from an authority.

Pure functions: they ask nobody, and take no look at the clock. rfc3161-client reads and verifies;
here is what it leaves to its caller.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import rfc3161_client
from cryptography import x509
from cryptography.x509.oid import NameOID
from rfc3161_client import Accuracy, HashAlgorithm, TimeStampResponse, VerificationError

from tfmark.errors import TimeStampError, UntrustedTimeStampError
from tfmark.time_stamp_certificates import (
    is_fit,
    is_root,
    load_certificates,
    system_certificates,
)
from tfmark.time_stamp_tokens import (
    certificates_in,
    hash_name,
    named_in,
    printable,
    read_token,
    reading,
)

__all__ = [
    "TimeStamp",
    "check_time_stamp",
    "load_certificates",
    "read_time_stamp",
    "system_certificates",
    "time_stamp_request",
]

# What OpenSSL says where a chain ends before it comes to a trusted root. All else that it says is
# about a stamp that nobody should believe.
_UNTRUSTED = {
    "certificate signature failure",
    "self-signed certificate",
    "self-signed certificate in certificate chain",
    "unable to get issuer certificate",
    "unable to get local issuer certificate",
}


@dataclass(frozen=True)
class TimeStamp:
    """What a time stamp says.

    Attributes:
        time: when the document was there at the latest, in UTC and whole seconds.
        accuracy: by how much the time may be wrong, if the authority says.
        authority: name in the certificate that signed.
        policy: OID of the authority's policy.
        serial: the authority's number of the stamp.
    """

    time: datetime
    accuracy: timedelta | None
    authority: str
    policy: str
    serial: int

    def __str__(self) -> str:
        within = "" if self.accuracy is None else f" (± {self.accuracy.total_seconds():g} s)"
        return (
            f"{self.time:%Y-%m-%d %H:%M:%S} UTC{within} by {self.authority or 'nobody named'}, "
            f"policy {self.policy}, serial number {self.serial}"
        )


def time_stamp_request(document: bytes) -> tuple[bytes, int]:
    """Write a request for a time stamp.

    Only the SHA-256 of the document is in it.

    Returns:
        The request (TimeStampReq in DER), and the random number in it that the answer must repeat.
    """
    request = rfc3161_client.TimestampRequestBuilder(document, HashAlgorithm.SHA256).build()
    return request.as_bytes(), cast(int, request.nonce)


def read_time_stamp(response: bytes) -> TimeStamp:
    """Read what a time stamp says. Nothing of it is checked: it is good for display alone.

    Args:
        response: an authority's answer (TimeStampResp in DER).

    Raises:
        TimeStampError: if it is none.
    """
    with reading():
        token = read_token(response)
        named = set(named_in(token, certificates_in(token)))
        return _stamp(token, named.pop() if len(named) == 1 else None)


def check_time_stamp(
    response: bytes,
    document: bytes,
    ca: Sequence[x509.Certificate],
    nonce: int | None = None,
) -> TimeStamp:
    """Check that a document was stamped by an authority that chains to a trusted root.

    Certificates are judged as of the time of the stamp, so a stamp holds when they have expired.
    What is not checked: whether a certificate had been revoked, which policy the authority follows,
    and by which hash the signature names the certificate. The hash of the document, those of the
    signatures and those of certificates are SHA-256, SHA-384 or SHA-512; RSA keys have at least
    2048 bits, those on curves 256.

    Args:
        response: an authority's answer (TimeStampResp in DER).
        document: the bytes that were stamped.
        ca: certificates that are trusted: the roots among them, which name themselves as issuer.
            The others help to build the chain. Intermediate ones, and that of the authority, are
            taken from the answer or from here.
        nonce: the random number of the request, where it is known.

    Returns:
        A `TimeStamp`.

    Raises:
        TimeStampError: if the stamp does not show that, with the step that failed; an
            `UntrustedTimeStampError` where that is the chain to a root.

    Reference:
        RFC 3161 for the time stamps, RFC 5652 for their signatures.
    """
    trusted = [certificate for certificate in ca if is_fit(certificate)]
    with reading():
        token = read_token(response)
        imprint = token.tst_info.message_imprint
        digest = hashlib.new(hash_name(imprint.hash_algorithm), document).digest()
        if digest != imprint.message:  # whoever the authority is
            raise TimeStampError("This time stamp is one of another document.")
        # OpenSSL finds no hash for the signature but among those that are listed.
        for algorithm in token.signed_data.digest_algorithms:
            hash_name(algorithm)
        came = certificates_in(token)
        if not all(map(is_fit, came)):
            raise TimeStampError(
                "A certificate in this time stamp is for something else, or has a key or a hash "
                "that is too weak."
            )
        signer = _signer(token, [*came, *trusted])
        _verify(token, digest, trusted, None if signer in came else signer, nonce)
        return _stamp(token, signer)


def _signer(token: TimeStampResponse, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    named = set(named_in(token, certificates))
    if not named:
        raise UntrustedTimeStampError(
            "The authority's certificate is neither in the time stamp nor among the CA "
            "certificates: add it to those."
        )
    if len(named) > 1:  # OpenSSL might take the one, and we show the other
        raise TimeStampError("Two certificates have the name of this time stamp's signer.")
    return named.pop()


def _verify(
    token: TimeStampResponse, digest: bytes, trusted: Sequence[x509.Certificate],
    signer: x509.Certificate | None, nonce: int | None,
) -> None:  # fmt: skip
    roots = [certificate for certificate in trusted if is_root(certificate)]
    if not roots:
        raise UntrustedTimeStampError("Expected a root among the CA certificates. Received: none.")
    others = [certificate for certificate in trusted if not is_root(certificate)]
    verifier = rfc3161_client.VerifierBuilder(
        tsa_certificate=signer, intermediates=others, roots=roots, nonce=nonce
    ).build()
    try:
        verifier.verify(token, digest)
    except VerificationError as error:
        reason = _reason(str(error))
    else:
        return
    when = f"{token.tst_info.gen_time:%Y-%m-%d %H:%M:%S}"
    if reason in _UNTRUSTED:
        raise UntrustedTimeStampError(
            "The authority's certificate does not chain to one of the CA certificates, as of "
            f"{when} ({reason})."
        )
    raise TimeStampError(f"This time stamp does not hold, as of {when}: {reason}.")


def _reason(text: str) -> str:
    """The reason among OpenSSL's errors, if it is one of them."""
    chain, steps = re.search('Verify error: ([^"]*)', text), re.findall('reason: "([^"]*)"', text)
    return chain[1] if chain else [text, *steps][-1]


def _stamp(token: TimeStampResponse, signer: x509.Certificate | None) -> TimeStamp:
    info = token.tst_info
    within = cast(Accuracy | None, info.accuracy)
    return TimeStamp(
        time=info.gen_time,
        accuracy=None if within is None else _accuracy(within),
        authority="" if signer is None else _name(signer.subject),
        policy=info.policy.dotted_string,
        serial=info.serial_number,
    )


def _accuracy(within: Accuracy) -> timedelta:
    return timedelta(
        seconds=within.seconds or 0,
        milliseconds=within.millis or 0,
        microseconds=within.micros or 0,
    )


def _name(subject: x509.Name) -> str:
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return printable(str(common[0].value) if common else subject.rfc4514_string())
