"""Certificates of time-stamping authorities: read, and checked as they were when they signed."""

from __future__ import annotations

import contextlib
import os
import ssl
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from tfmark.errors import InvalidArgumentError, TimeStampError, UntrustedTimeStampError

MAX_BUNDLE = 1 << 22  # bytes; the bundles of systems have 200 thousand
Certificates = tuple[x509.Certificate, ...]
_ODD = (
    ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip


def load_certificates(path: str | os.PathLike[str]) -> Certificates:
    """Read a file with any number of certificates (PEM).

    Raises:
        InvalidArgumentError: if it holds none, or one that cannot be read.
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_BUNDLE + 1)
    if len(data) > MAX_BUNDLE:
        raise InvalidArgumentError(f"Expected certificates of at most {MAX_BUNDLE >> 20} MiB.")
    try:
        with _old_roots():
            return tuple(map(_readable, x509.load_pem_x509_certificates(data)))
    except _ODD:
        raise InvalidArgumentError(
            f"Expected certificates in PEM, each behind a line of BEGIN CERTIFICATE, in {path}."
        ) from None


def system_certificates() -> Certificates:
    """The certificates that this machine trusts, for servers on the web.

    They are not chosen for time stamps, but many public authorities have theirs from one of them.
    """
    paths = ssl.get_default_verify_paths()
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    certificates = []
    for data in found or _in_folder(paths.capath):
        with contextlib.suppress(ValueError):  # one odd certificate does not spoil the others
            certificates.append(load_certificate(data))
    return tuple(certificates)


def _in_folder(folder: str | None) -> Iterator[bytes]:
    """What OpenSSL would look up by name, and does not list."""
    for file in sorted(Path(folder).glob("*.[0-9]")) if folder else ():
        with contextlib.suppress(ValueError, OSError):
            yield ssl.PEM_cert_to_DER_cert(file.read_text())


def load_certificate(data: bytes) -> x509.Certificate:
    """Read one certificate (DER).

    Raises:
        ValueError: if it is none.
    """
    try:
        with _old_roots():
            return _readable(x509.load_der_x509_certificate(data))
    except _ODD as error:
        raise ValueError(str(error)) from None


def _readable(certificate: x509.Certificate) -> x509.Certificate:
    """The same, if what `cryptography` reads late can be read."""
    _ = certificate.issuer, certificate.subject, certificate.serial_number
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate


def serial_number(certificate: x509.Certificate) -> int:
    """The number that its issuer gave a certificate."""
    with _old_roots():
        return certificate.serial_number


@contextlib.contextmanager
def _old_roots() -> Iterator[None]:
    """Some have the serial number 0, of which `cryptography` warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def check_chain(
    signer: x509.Certificate, others: Iterable[x509.Certificate], ca: Sequence[x509.Certificate],
    time: datetime,
) -> None:  # fmt: skip
    """Check that a certificate was good for time stamps at this time.

    Whether one in the chain had been revoked is not checked.

    Args:
        signer: the certificate.
        others: what came with it, to build the chain; none of them is trusted.
        ca: what is trusted: the roots among them, certificates that signed themselves. The others
            help to build the chain, as with OpenSSL.
        time: when it signed, in UTC.

    Raises:
        UntrustedTimeStampError: if it does not chain to a root that is trusted.
        TimeStampError: if it was not valid then, or is for something else.
    """
    _check_use(signer)
    if not signer.not_valid_before_utc <= time <= signer.not_valid_after_utc:
        raise TimeStampError(
            f"The authority's certificate was not valid when it signed, at {time:%Y-%m-%d %H:%M:%S}"
            f", but from {signer.not_valid_before_utc:%Y-%m-%d} to "
            f"{signer.not_valid_after_utc:%Y-%m-%d}."
        )
    roots = [certificate for certificate in ca if certificate.issuer == certificate.subject]
    if not roots:
        raise UntrustedTimeStampError("Expected a root among the CA certificates. Received: none.")
    policy = (
        verification.PolicyBuilder()
        .store(verification.Store(roots))
        .time(time.replace(tzinfo=None))
        .extension_policies(ca_policy=_CA, ee_policy=_SIGNER)
        .build_client_verifier()
    )
    try:
        policy.verify(signer, [*others, *ca])
    except (verification.VerificationError, *_ODD) as error:
        raise UntrustedTimeStampError(
            "The authority's certificate does not chain to one of the CA certificates, as of "
            f"{time:%Y-%m-%d %H:%M:%S} ({_reason(error)})."
        ) from None


def _reason(error: Exception) -> str:
    """What `cryptography` says, without the names in certificates, which may be anything."""
    text = str(error).partition(" (encountered")[0]
    if "no interior errors" in text:
        return "none of them issued it"
    return text.removeprefix("validation failed: ").removeprefix("candidates exhausted: ")


def _check_use(signer: x509.Certificate) -> None:
    """The certificate must be for time stamps alone (RFC 3161, section 2.3)."""
    try:
        extensions = list(signer.extensions)
    except _ODD as error:
        raise TimeStampError(f"The authority's certificate is malformed ({error}).") from None
    uses = [e for e in extensions if isinstance(e.value, x509.ExtendedKeyUsage) and e.critical]
    if [list(use.value) for use in uses] != [[ExtendedKeyUsageOID.TIME_STAMPING]]:
        raise TimeStampError(
            "The authority's certificate is not for time stamps alone: expected the critical "
            "extended key usage timeStamping."
        )
    keys = [e.value for e in extensions if isinstance(e.value, x509.KeyUsage)]
    if any(not (key.digital_signature or key.content_commitment) for key in keys):
        raise TimeStampError("The authority's certificate is not for signatures.")


def _may_certify(_: Any, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key usage of an issuer does not allow to sign certificates")


def _for_time_stamps(
    _: Any, certificate: x509.Certificate, use: x509.ExtendedKeyUsage | None
) -> None:
    allowed = {ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if use is not None and allowed.isdisjoint(use):
        raise ValueError("the extended key usage of an issuer does not allow time stamps")


_EITHER = verification.Criticality.AGNOSTIC
_SIGNER = verification.ExtensionPolicy.permit_all()  # `_check_use` has checked them
_CA = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _EITHER, None)
    .may_be_present(x509.KeyUsage, _EITHER, _may_certify)
    .may_be_present(x509.ExtendedKeyUsage, _EITHER, _for_time_stamps)
)
