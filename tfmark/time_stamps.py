"""Time stamps (RFC 3161): proof that a document was there at a time, from an authority.

Pure functions: they ask nobody, and take no look at the clock.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from asn1crypto import tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tfmark.errors import TimeStampError, UntrustedTimeStampError
from tfmark.time_stamp_chains import check_chain, load_certificates, system_certificates
from tfmark.time_stamp_tokens import Token, read_token

__all__ = [
    "TimeStamp",
    "check_time_stamp",
    "load_certificates",
    "read_time_stamp",
    "system_certificates",
    "time_stamp_request",
]

_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_CERTIFICATE_HASHES = {*_HASHES, "sha1"}  # the chain is what is trusted, not this hash of an end


@dataclass(frozen=True)
class TimeStamp:
    """What a time stamp says.

    Attributes:
        time: when the document was there at the latest, in UTC.
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
    nonce = secrets.randbits(64)
    imprint = {
        "hash_algorithm": {"algorithm": "sha256"},
        "hashed_message": hashlib.sha256(document).digest(),
    }
    request = {"version": "v1", "message_imprint": imprint, "nonce": nonce, "cert_req": True}
    return tsp.TimeStampReq(request).dump(), nonce


def read_time_stamp(response: bytes) -> TimeStamp:
    """Read what a time stamp says. Nothing of it is checked: it is good for display alone.

    Args:
        response: an authority's answer (TimeStampResp in DER).

    Raises:
        TimeStampError: if it is none.
    """
    token = read_token(response)
    named = [certificate for certificate in token.certificates if token.names(certificate)]
    return _stamp(token, named[0] if named else None)


def check_time_stamp(
    response: bytes,
    document: bytes,
    ca: Sequence[x509.Certificate],
    nonce: int | None = None,
) -> TimeStamp:
    """Check that a document was stamped by an authority that chains to a trusted root.

    Certificates are judged as of the time of the stamp, so a stamp holds when they have expired.
    What is not checked: whether a certificate had been revoked, and which policy the authority
    follows. Signatures are RSA (PKCS #1 v1.5) or ECDSA with SHA-256, SHA-384 or SHA-512; those with
    SHA-1, and keys that are too short for the web, are refused.

    Args:
        response: an authority's answer (TimeStampResp in DER).
        document: the bytes that were stamped.
        ca: certificates that are trusted, of which at least one is a root. Intermediate ones, and
            that of the authority, are taken from the answer or from here.
        nonce: the random number of the request, where it is known.

    Returns:
        A `TimeStamp`.

    Raises:
        TimeStampError: if the stamp does not show that, with the step that failed; an
            `UntrustedTimeStampError` where that is the chain to a root.

    Reference:
        RFC 3161 for the time stamps, RFC 5652 for their signatures, RFC 5816 for how they name a
        certificate.
    """
    token = read_token(response)
    algorithm, imprint = token.imprint
    if _digest(algorithm, document) != imprint:
        raise TimeStampError("This time stamp is one of another document.")
    if nonce is not None and token.nonce != nonce:
        raise TimeStampError("This time stamp answers another request: its nonce is not ours.")
    signer = _signer(token, [*token.certificates, *ca])
    _check_signature(token, signer)
    check_chain(signer, token.certificates, ca, token.time)
    return _stamp(token, signer)


def _digest(algorithm: str, data: bytes) -> bytes:
    if algorithm not in _HASHES:
        raise TimeStampError(f"Expected SHA-256, SHA-384 or SHA-512. Received: {algorithm}")
    return hashlib.new(algorithm, data).digest()


def _signer(token: Token, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificate that the token names, in its signed part as well."""
    named = [certificate for certificate in certificates if token.names(certificate)]
    if not named:
        raise UntrustedTimeStampError(
            "The authority's certificate is neither in the time stamp nor among the CA "
            "certificates: add it to those."
        )
    for certificate in named:
        der = certificate.public_bytes(Encoding.DER)
        digests = [
            (hashlib.new(algorithm, der).digest(), digest)
            for algorithm, digest in token.certificate_digests
            if algorithm in _CERTIFICATE_HASHES
        ]
        if digests and all(ours == theirs for ours, theirs in digests):
            return certificate
    raise TimeStampError("This time stamp was signed for another certificate than it names.")


def _check_signature(token: Token, signer: x509.Certificate) -> None:
    algorithm, digest = token.content_digest
    if _digest(algorithm, token.content) != digest:
        raise TimeStampError("This time stamp was changed: its signature is over something else.")
    try:
        key = signer.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TimeStampError(f"The authority's key cannot be used ({error}).") from None
    verify: Callable[[], None]
    # The name of a signature begins with its hash; where it does not, that is the content's.
    plain = token.signature_algorithm == "rsassa_pkcs1v15"
    name, _, kind = (f"{algorithm}_rsa" if plain else token.signature_algorithm).partition("_")
    if kind == "rsa" and name in _HASHES and isinstance(key, rsa.RSAPublicKey):
        how = padding.PKCS1v15(), _HASHES[name]
        verify = partial(key.verify, token.signature, token.signed, *how)
    elif kind == "ecdsa" and name in _HASHES and isinstance(key, ec.EllipticCurvePublicKey):
        verify = partial(key.verify, token.signature, token.signed, ec.ECDSA(_HASHES[name]))
    else:
        raise TimeStampError(
            "Expected a signature with RSA or ECDSA and SHA-256, SHA-384 or SHA-512. "
            f"Received: {token.signature_algorithm}"
        )
    try:
        verify()
    except InvalidSignature:
        raise TimeStampError("The signature of this time stamp is wrong.") from None


def _stamp(token: Token, signer: x509.Certificate | None) -> TimeStamp:
    return TimeStamp(
        time=token.time,
        accuracy=token.accuracy,
        authority="" if signer is None else _name(signer.subject),
        policy=token.policy,
        serial=token.serial,
    )


def _name(subject: x509.Name) -> str:
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common[0].value) if common else subject.rfc4514_string()
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]
