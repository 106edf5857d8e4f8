"""Certificates for time stamps: where they come from, and which are fit to be relied on."""

from __future__ import annotations

import contextlib
import os
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tfmark.errors import InvalidArgumentError

MAX_BUNDLE = 1 << 22  # bytes; the bundles of systems have 200 thousand
Certificates = tuple[x509.Certificate, ...]
_HASHES = "sha256", "sha384", "sha512"
_USES = {ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
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
        with unwarned():
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
        with unwarned():
            return _readable(x509.load_der_x509_certificate(data))
    except _ODD as error:
        raise ValueError(str(error)) from None


def _readable(certificate: x509.Certificate) -> x509.Certificate:
    """The same, if what `cryptography` reads late can be read."""
    _ = certificate.issuer, certificate.subject, certificate.serial_number
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Some have the serial number 0, or odd names, of which `cryptography` warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def is_root(certificate: x509.Certificate) -> bool:
    """Whether a certificate names itself as its issuer."""
    return certificate.issuer == certificate.subject


def is_fit(certificate: x509.Certificate) -> bool:
    """Whether a certificate may be one of the chain of a time stamp.

    OpenSSL checks the purpose of the last one alone, and would take any key and hash.
    """
    try:
        with unwarned():
            key, extensions = certificate.public_key(), certificate.extensions
            hashed = certificate.signature_hash_algorithm
    except _ODD:
        return False
    is_strong = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256
    )
    signed = is_root(certificate) or (hashed is not None and hashed.name in _HASHES)
    uses = [e.value for e in extensions if isinstance(e.value, x509.ExtendedKeyUsage)]
    return is_strong and signed and not any(_USES.isdisjoint(use) for use in uses)
