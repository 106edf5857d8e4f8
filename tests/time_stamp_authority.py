"""A real time-stamping authority, made on the spot: OpenSSL's `ts` command behind HTTP.

Its certificates come from `cryptography`, which can date them. What OpenSSL would not sign, `forge`
signs with the authority's own key.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.http_server import Reply, Request, Server, http_server
from tfmark.time_stamps import time_stamp_request

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(
    OPENSSL is None and not os.environ.get("TFMARK_REQUIRE_OPENSSL"),
    reason="no openssl command to make a time-stamping authority of",
)
POLICY = "1.3.6.1.4.1.99999.1"
SHA1 = "1.3.14.3.2.26"
NOW = datetime.now(UTC).replace(microsecond=0)
YEAR = timedelta(days=365)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
TIME_STAMPING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True

_CONFIG = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
certs = {folder}/chain.pem
signer_key = {folder}/signer.key
signer_digest = {digest}
default_policy = {policy}
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500
tsa_name = yes
ess_cert_id_alg = {ess}
"""


@dataclass
class Authority:
    """An authority with a root, an intermediate CA, and a certificate of its own."""

    folder: Path
    root: x509.Certificate
    intermediate: x509.Certificate
    signer: x509.Certificate
    key: Key
    intermediate_key: Key
    root_key: Key
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ca_file(self) -> Path:
        """The root alone, as PEM."""
        return self.folder / "root.pem"

    def reply(self, request: bytes) -> bytes:
        """What the authority answers, a refusal included."""
        with self.lock:  # of the file with the next serial number
            (self.folder / "request.tsq").write_bytes(request)
            files = "-queryfile", "request.tsq", "-config", "tsa.cnf", "-out", "reply.tsr"
            openssl("ts", "-reply", "-section", "authority", *files, folder=self.folder)
            return (self.folder / "reply.tsr").read_bytes()

    def stamp(self, document: bytes) -> bytes:
        """A time stamp of a document."""
        return self.reply(time_stamp_request(document)[0])

    def issue(self, *extensions: Any, serial: int | None = None) -> x509.Certificate:
        """Another certificate for the authority's key, from the same CA."""
        return certify(
            common_name(self.signer), self.key, self.intermediate_key, self.intermediate,
            extensions=extensions, ca=False, serial=serial,
        )  # fmt: skip


def openssl_verifies(
    response: bytes, document: bytes, ca: bytes, folder: Path, at: datetime
) -> bool:
    """What OpenSSL says of a time stamp, with these certificates (PEM), at a time."""
    for name, data in ("verify.tsr", response), ("verify.data", document), ("verify.pem", ca):
        (folder / name).write_bytes(data)
    files = "-data", "verify.data", "-in", "verify.tsr", "-CAfile", "verify.pem"
    try:
        openssl("ts", "-verify", *files, "-attime", str(int(at.timestamp())), folder=folder)
    except AssertionError as error:
        assert "time stamp routines" in str(error), error
        return False
    return True


def openssl(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run OpenSSL; an error is a failed test."""
    assert OPENSSL is not None, "TFMARK_REQUIRE_OPENSSL is set, but there is no openssl"
    command = [OPENSSL, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def make_authority(
    folder: Path, name: str = "Test Time Stamps", rsa_key: bool = False, digest: str = "sha256",
    ess: str = "sha256", valid: tuple[datetime, datetime] = (NOW - YEAR, NOW + YEAR),
) -> Authority:  # fmt: skip
    """Make an authority that keeps its files in a folder.

    Args:
        folder: where; it is made.
        name: the common name in the authority's certificate, and in those of its CA.
        rsa_key: whether the authority signs with RSA rather than on a curve.
        digest: hash of its signatures.
        ess: hash by which the signature names the certificate.
        valid: from when to when its certificate is.
    """
    folder.mkdir(parents=True)
    root_key, intermediate_key = new_key(), new_key()
    root = certify(f"{name} root", root_key, root_key, None)
    intermediate = certify(f"{name} CA", intermediate_key, root_key, root)
    key: Key = rsa.generate_private_key(65537, 2048) if rsa_key else new_key()
    signer = certify(name, key, intermediate_key, intermediate, valid, [TIME_STAMPING], ca=False)
    for file, certificate in (("root", root), ("chain", intermediate), ("signer", signer)):
        (folder / f"{file}.pem").write_bytes(pem(certificate))
    (folder / "signer.key").write_bytes(pem_of_key(key))
    (folder / "serial").write_text("1001\n")
    config = _CONFIG.format(folder=folder, digest=digest, policy=POLICY, ess=ess)
    (folder / "tsa.cnf").write_text(config)
    return Authority(folder, root, intermediate, signer, key, intermediate_key, root_key)


@contextmanager
def serving_time_stamps(
    authority: Authority, answer: Callable[[bytes], Any] | None = None
) -> Iterator[Server]:
    """Serve an authority on loopback; `answer` may make another body, or reply, of a request."""

    def respond(request: Request) -> Any:
        if request.headers["Content-Type"] != "application/timestamp-query":
            return Reply("Expected application/timestamp-query.", 415)
        body = (answer or authority.reply)(request.body)
        typed = {"Content-Type": "application/timestamp-reply"}
        return Reply(body, headers=typed) if isinstance(body, bytes) else body

    with http_server(respond) as server:
        yield server


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def certify(
    name: str, key: Key, issuer_key: Key, issuer: x509.Certificate | None,
    valid: tuple[datetime, datetime] = (NOW - 5 * YEAR, NOW + 5 * YEAR), extensions: Any = (),
    ca: bool | None = True, serial: int | None = None,
) -> x509.Certificate:  # fmt: skip
    """A certificate; `ca` is `None` where it shall not say whether it is one of a CA."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    vouching = (key if issuer is None else issuer).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(vouching), False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def pem_of_key(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def forge(
    response: bytes, key: Key, signer: x509.Certificate | None = None,
    change: Callable[[Any, Any], None] = lambda info, signed: None, digest: str = "sha256",
    certificates: tuple[x509.Certificate, ...] | None = None,
) -> bytes:  # fmt: skip
    """A time stamp with something changed, and signed anew.

    Args:
        response: a real one.
        key: signs.
        signer: the certificate that is named. Defaults to the one that was.
        change: changes what is said (TSTInfo) and the parsed SignedData, before signing.
        digest: hash of the signature.
        certificates: what comes with it. Defaults to what did, and `signer`.
    """
    parsed = tsp.TimeStampResp.load(response)
    data = parsed["time_stamp_token"]["content"]
    info = tsp.TSTInfo.load(data["encap_content_info"]["content"].contents)
    one = data["signer_infos"][0]
    if signer is not None:
        named = cms.Certificate.load(der(signer))
        one["sid"] = {"issuer_and_serial_number": cms.IssuerAndSerialNumber(
            {"issuer": named.issuer, "serial_number": named.serial_number})}  # fmt: skip
        certificates = certificates or (signer, *map(_loaded, data["certificates"]))
    if certificates is not None:
        loaded = [cms.Certificate.load(der(certificate)) for certificate in certificates]
        data["certificates"] = cms.CertificateSet(loaded)
    change(info, data)
    content = info.dump()
    data["encap_content_info"] = {
        "content_type": "tst_info",
        "content": core.ParsableOctetString(content),
    }
    sign(one, content, key, signer, digest)
    data["digest_algorithms"] = [{"algorithm": digest}]
    parsed["time_stamp_token"]["content"] = data
    return parsed.dump()


def sign(one: Any, content: bytes, key: Key, signer: x509.Certificate | None, digest: str) -> None:
    """Sign content in a SignerInfo."""
    for attribute in one["signed_attrs"]:
        if attribute["type"].native == "message_digest":
            attribute["values"] = [hashlib.new(digest, content).digest()]
        if attribute["type"].native == "signing_certificate_v2" and signer is not None:
            attribute["values"] = [{"certs": [{"cert_hash": hashlib.sha256(der(signer)).digest()}]}]
    signed = b"\x31" + one["signed_attrs"].dump()[1:]
    hash_of = getattr(hashes, digest.upper())()
    one["digest_algorithm"] = {"algorithm": digest}
    if isinstance(key, rsa.RSAPrivateKey):
        one["signature_algorithm"] = {"algorithm": f"{digest}_rsa"}
        one["signature"] = key.sign(signed, padding.PKCS1v15(), hash_of)
    else:
        one["signature_algorithm"] = {"algorithm": f"{digest}_ecdsa"}
        one["signature"] = key.sign(signed, ec.ECDSA(hash_of))


def _loaded(choice: Any) -> x509.Certificate:
    return x509.load_der_x509_certificate(choice.dump())
