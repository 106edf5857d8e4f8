"""Exchanges as members of a file of evidence: bodies and certificates as they are, facts beside."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tfmark.endpoints.exchange import Answered, Asked
from tfmark.endpoints.http import MAX_BODY
from tfmark.errors import EvidenceError
from tfmark.evidence.facts import only, take, take_hex, take_time
from tfmark.evidence.tape import FAILURES, Exchange, Failure

_EXCHANGE = {"method", "address", "headers", "sent", "received", "request", "answer", "failure"}
_BODY = {"file", "sha256"}


def write_exchanges(exchanges: tuple[Exchange, ...]) -> tuple[list[Any], dict[str, bytes]]:
    """The facts of exchanges, and the members that they name."""
    members: dict[str, bytes] = {}
    facts = []
    for number, exchange in enumerate(exchanges):
        asked, answered = exchange.asked, exchange.answered
        name = f"exchanges/{number:05d}"
        request = None
        if asked.body is not None:
            request = _body(members, f"{name}-request", asked.body)
        answer = None
        if answered is not None:
            answer = _body(members, f"{name}-answer", answered.body) | {
                "received_sha256": exchange.digest,
                "status": answered.status,
                "headers": dict(answered.headers),
                "certificates": [_certificate(members, der) for der in answered.certificates],
            }
        facts.append({
            "method": asked.method,
            "address": asked.address,
            "headers": dict(asked.headers),
            "sent": exchange.sent.isoformat(),
            "received": exchange.received.isoformat(),
            "request": request,
            "answer": answer,
            "failure": None if exchange.failure is None else asdict(exchange.failure),
        })  # fmt: skip
    return facts, members


def read_exchanges(facts: list[Any], members: Mapping[str, bytes]) -> tuple[Exchange, ...]:
    """The exchanges of such facts.

    Raises:
        EvidenceError: if they are not as `write_exchanges` makes them.
    """
    return tuple(_exchange(entry, members) for entry in facts)


def _exchange(facts: Any, members: Mapping[str, bytes]) -> Exchange:
    if not isinstance(facts, dict):
        raise EvidenceError("an exchange is not an object")
    only(facts, _EXCHANGE)
    body = answered = failure = None
    digest = ""
    if facts["request"] is not None:
        request = take(facts, "request", dict)
        only(request, _BODY)
        body = _content(request, members)
    if facts["answer"] is not None:
        answer = take(facts, "answer", dict)
        only(answer, _BODY | {"received_sha256", "status", "headers", "certificates"})
        digest = take_hex(answer, "received_sha256", 32).hex()
        content = _content(answer, members)
        if len(content) > MAX_BODY:
            raise EvidenceError(f"an answer is larger than {MAX_BODY >> 20} MiB")
        answered = Answered(
            take(answer, "status", int),
            _headers(answer),
            content,
            tuple(_der(members, name) for name in take(answer, "certificates", list)),
        )
    if facts["failure"] is not None:
        failure = _failure(take(facts, "failure", dict))
    if (answered is None) == (failure is None):
        raise EvidenceError("an exchange has to have an answer or a failure")
    asked = Asked(take(facts, "method", str), take(facts, "address", str), _headers(facts), body)
    return Exchange(
        asked, answered, failure, take_time(facts, "sent"), take_time(facts, "received"), digest
    )


def _failure(facts: dict[str, Any]) -> Failure:
    only(facts, ("kind", "text", "value"))
    kind, value = take(facts, "kind", str), facts["value"]
    if kind not in FAILURES or type(value) is not FAILURES[kind]:
        raise EvidenceError("a failure is of no known kind")
    return Failure(kind, take(facts, "text", str), value)  # type: ignore[arg-type]  # as checked


def _headers(facts: dict[str, Any]) -> dict[str, str]:
    headers = take(facts, "headers", dict)
    if not all(isinstance(value, str) for value in headers.values()):
        raise EvidenceError("a header is not a text")
    return headers


def _body(members: dict[str, bytes], name: str, body: bytes) -> dict[str, Any]:
    members[name] = body
    return {"file": name, "sha256": hashlib.sha256(body).hexdigest()}


def _content(facts: dict[str, Any], members: Mapping[str, bytes]) -> bytes:
    name = take(facts, "file", str)
    body = members.get(name)
    if body is None or hashlib.sha256(body).hexdigest() != facts["sha256"]:
        raise EvidenceError(f"{name} is missing, or not the one that was kept")
    return body


def _certificate(members: dict[str, bytes], der: bytes) -> str:
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    name = f"certificates/{hashlib.sha256(der).hexdigest()[:16]}.pem"
    members[name] = pem
    return name


def _der(members: Mapping[str, bytes], name: Any) -> bytes:
    pem = members.get(name, b"") if isinstance(name, str) else b""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    except ValueError:
        raise EvidenceError("a certificate is missing or damaged") from None
    if ssl.DER_cert_to_PEM_cert(der).encode() != pem:
        raise EvidenceError(f"{name} is not written as tfmark writes it")
    return der
