"""RFC 3161 responses taken apart: strict, bounded, and nothing in them believed yet.

asn1crypto reads the ASN.1. It reads lazily, so all that is needed is taken out here, where what is
malformed can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asn1crypto import cms, core, parser, tsp
from cryptography import x509

from tfmark.errors import TimeStampError
from tfmark.time_stamp_chains import load_certificate, serial_number

MAX_RESPONSE = 1 << 16  # bytes; those of real authorities have 2 to 10 thousand
_TIME = re.compile(rb"[0-9]{14}(\.[0-9]{0,5}[1-9])?Z")  # DER, and RFC 3161, section 2.4.2
_MALFORMED = ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError


class _Response(core.Sequence):  # type: ignore[misc]
    """TimeStampResp; that of asn1crypto knows no refusals."""

    _fields = [  # noqa: RUF012  as asn1crypto wants it
        ("status", tsp.PKIStatusInfo),
        ("time_stamp_token", cms.ContentInfo, {"optional": True}),
    ]


@dataclass(frozen=True)
class Token:
    """What a response says, and what a check of it needs.

    Attributes:
        time: when the stamp was made.
        accuracy: by how much the time may be wrong, if that is said.
        policy: OID of the authority's policy.
        serial: the authority's number of the stamp.
        nonce: number that was sent with the request, if one comes back.
        imprint: hash of the document, as (algorithm, digest).
        content: the bytes that say all of the above.
        certificates: all that came with it.
        signer: issuer (DER) and serial number of the certificate that signed.
        signed: the bytes that are signed.
        content_digest: hash of `content` in the bytes that are signed, as (algorithm, digest).
        certificate_digests: hashes of the certificate that signed, in the bytes that are signed.
        signature: the signature.
        signature_algorithm: how it was made, such as "sha256_rsa", in the words of asn1crypto.
    """

    time: datetime
    accuracy: timedelta | None
    policy: str
    serial: int
    nonce: int | None
    imprint: tuple[str, bytes]
    content: bytes
    certificates: tuple[x509.Certificate, ...]
    signer: tuple[bytes, int]
    signed: bytes
    content_digest: tuple[str, bytes]
    certificate_digests: tuple[tuple[str, bytes], ...]
    signature: bytes
    signature_algorithm: str

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether the signer says to have signed with this certificate."""
        return self.signer == (certificate.issuer.public_bytes(), serial_number(certificate))


def read_token(response: bytes) -> Token:
    """Take a response apart.

    Raises:
        TimeStampError: if it is none, is not DER, is too large, or a refusal.
    """
    if len(response) > MAX_RESPONSE:
        raise TimeStampError(
            f"Expected a time stamp of at most {MAX_RESPONSE} bytes. Received: {len(response)}"
        )
    try:
        _check_der(response)
        parsed = _Response.load(response, strict=True)
        status = parsed["status"]["status"].native
        if status == "granted":  # "with modifications" would be of what was not asked for
            return _token(parsed["time_stamp_token"])
        problem = f"The authority refused to stamp ({_reason(parsed['status'])})."
    except TimeStampError:
        raise
    except (*_MALFORMED, RecursionError) as error:
        problem = f"This is no time stamp (RFC 3161) in DER ({type(error).__name__})."
    raise TimeStampError(problem)


def _reason(info: Any) -> str:
    """The authority's own words, which may be anything."""
    said = [str(info["status"].native), *(info["status_string"].native or ())]
    said += sorted(map(str, info["fail_info"].native or ()))
    text = "".join(letter if letter.isprintable() else " " for letter in ", ".join(said))
    return text[:200]


def _token(token: Any) -> Token:
    if token["content_type"].native != "signed_data":
        raise TimeStampError("This is no time stamp: nothing in it is signed.")
    data = token["content"]
    encapsulated = data["encap_content_info"]
    if encapsulated["content_type"].native != "tst_info" or data["version"].native != "v3":
        raise TimeStampError("This is no time stamp: something else is signed.")
    if len(data["signer_infos"]) != 1:
        raise TimeStampError(
            f"Expected one signer of a time stamp. Received: {len(data['signer_infos'])}"
        )
    content = encapsulated["content"].contents
    certificates = [choice.dump() for choice in data["certificates"] or ()]
    digests = set(map(_algorithm, data["digest_algorithms"]))
    return Token(
        **_said(tsp.TSTInfo.load(content, strict=True)),
        **_signer(data["signer_infos"][0], digests),
        content=content,
        certificates=tuple(map(load_certificate, certificates)),
    )


def _said(info: Any) -> dict[str, Any]:
    if info["version"].native != "v1" or any(e["critical"].native for e in info["extensions"]):
        raise TimeStampError("This time stamp is of another version, or has unknown extensions.")
    time = info["gen_time"].native
    if not (_TIME.fullmatch(info["gen_time"].contents) and isinstance(time, datetime)):
        raise TimeStampError("This time stamp has a time that is not written as it must be.")
    imprint, accuracy = info["message_imprint"], info["accuracy"].native
    return {
        "time": time,
        "accuracy": None if accuracy is None else _accuracy(accuracy),
        "policy": info["policy"].dotted,
        "serial": info["serial_number"].native,
        "nonce": info["nonce"].native,
        "imprint": (
            imprint["hash_algorithm"]["algorithm"].native,
            imprint["hashed_message"].native,
        ),
    }


def _accuracy(parts: Any) -> timedelta:
    seconds, millis, micros = (parts[name] or 0 for name in ("seconds", "millis", "micros"))
    if seconds < 0 or not (0 <= millis <= 999 and 0 <= micros <= 999):
        raise TimeStampError("This time stamp has an accuracy that cannot be.")
    return timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)


def _signer(signer: Any, digests: set[str]) -> dict[str, Any]:
    digest, sid = _algorithm(signer["digest_algorithm"]), signer["sid"]
    known = signer["version"].native == "v1" and sid.name == "issuer_and_serial_number"
    if not (known and digest in digests):
        raise TimeStampError("This time stamp does not name its signer as it must.")
    attributes = signer["signed_attrs"]
    if _only(attributes, "content_type") != "tst_info":
        raise TimeStampError("This time stamp's signature is one over something else.")
    return {
        "signer": (sid.chosen["issuer"].dump(), sid.chosen["serial_number"].native),
        # The attributes are signed as the set that they are, not under the tag they stand with.
        "signed": b"\x31" + attributes.dump()[1:],
        "content_digest": (digest, _only(attributes, "message_digest")),
        "certificate_digests": tuple(_certificate_digests(attributes)),
        "signature": signer["signature"].native,
        "signature_algorithm": _algorithm(signer["signature_algorithm"]),
    }


def _algorithm(identifier: Any) -> str:
    """The name of an algorithm that has no parameters."""
    if identifier["parameters"].dump() not in (b"", b"\x05\x00"):
        name = identifier["algorithm"].native
        raise TimeStampError(f"Expected an algorithm without parameters. Received: {name}")
    return str(identifier["algorithm"].native)


def _certificate_digests(attributes: Any) -> Iterator[tuple[str, bytes]]:
    """Hashes of the signer's certificate (RFC 5035, and RFC 2634, which always takes SHA-1)."""
    names = [attribute["type"].native for attribute in attributes]
    if "signing_certificate_v2" in names:
        first = _only(attributes, "signing_certificate_v2")["certs"][0]
        yield first["hash_algorithm"]["algorithm"], first["cert_hash"]
    if "signing_certificate" in names:
        yield "sha1", _only(attributes, "signing_certificate")["certs"][0]["cert_hash"]


def _only(attributes: Any, name: str) -> Any:
    """The one value of the one attribute of this name."""
    (values,) = [a["values"].native for a in attributes if a["type"].native == name]
    (value,) = values
    return value


def _check_der(data: bytes) -> None:
    """Refuse what does not have the one length, written in the one way, that DER has for it."""
    pending = [data]
    while pending:
        rest = pending.pop()
        while rest:
            class_, constructed, tag, header, content, _ = parser.parse(rest)
            if parser.emit(class_, constructed, tag, content) != rest[: len(header) + len(content)]:
                raise ValueError("not DER")
            if constructed:
                pending.append(content)
            rest = rest[len(header) + len(content) :]
