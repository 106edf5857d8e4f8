"""The certificates that a server showed, as far as they can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from tfmark.evidence.tape import Exchange

MOST = 12


@dataclass(frozen=True)
class ServerCertificate:
    """One certificate.

    Attributes:
        subject: whom it is for, in its own words; "" if it cannot be read.
        issuer: who says so.
        begins: when it begins to be valid, in UTC.
        ends: when it ends to be.
        fingerprint: SHA-256 of the certificate (DER), in hex.
    """

    subject: str
    issuer: str
    begins: datetime | None
    ends: datetime | None
    fingerprint: str


def server_certificates(exchanges: Iterable[Exchange]) -> tuple[ServerCertificate, ...]:
    """The certificates that servers showed, each once, in order; no more than `MOST`."""
    ders = (
        der
        for exchange in exchanges
        if exchange.answered is not None
        for der in exchange.answered.certificates
    )
    return tuple(_read(der) for der in islice(dict.fromkeys(ders), MOST))


def _read(der: bytes) -> ServerCertificate:
    from cryptography import x509

    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        read = x509.load_der_x509_certificate(der)
        return ServerCertificate(
            read.subject.rfc4514_string(),
            read.issuer.rfc4514_string(),
            read.not_valid_before_utc,
            read.not_valid_after_utc,
            fingerprint,
        )
    except (ValueError, OverflowError, x509.InvalidVersion):
        return ServerCertificate("", "", None, None, fingerprint)
