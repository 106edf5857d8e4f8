"""What crossed the wire, in short: one row for each exchange."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tfmark.evidence.tape import Exchange

MOST = 40
EXCERPT = 160  # bytes of an answer


@dataclass(frozen=True)
class Body:
    """The body of a request or an answer.

    Attributes:
        size: in bytes.
        digest: SHA-256, in hex.
        excerpt: its beginning.
    """

    size: int
    digest: str
    excerpt: str


@dataclass(frozen=True)
class Row:
    """An exchange.

    Attributes:
        sent: when, in UTC.
        asked: method and address.
        outcome: status, or why there was no answer.
        headers: what the server says of itself and its clock.
        request: what was sent, if anything.
        answer: what was received, if anything.
    """

    sent: datetime
    asked: str
    outcome: str
    headers: tuple[str, ...]
    request: Body | None
    answer: Body | None


def wire_rows(exchanges: Sequence[Exchange]) -> tuple[Row, ...]:
    """The first exchanges, no more than `MOST`."""
    return tuple(_row(exchange) for exchange in exchanges[:MOST])


def _row(exchange: Exchange) -> Row:
    asked, answered, failure = exchange.asked, exchange.answered, exchange.failure
    headers = {} if answered is None else answered.headers
    told = {name.lower(): value for name, value in headers.items()}
    return Row(
        sent=exchange.sent,
        asked=f"{asked.method} {asked.address}",
        outcome=f"status {answered.status}" if answered else failure.text if failure else "",
        headers=tuple(f"{name}: {told[name.lower()]}" for name in ("Date", "Server")
                      if name.lower() in told),
        request=None if asked.body is None else _body(asked.body),
        answer=None if answered is None else _body(answered.body),
    )  # fmt: skip


def _body(body: bytes) -> Body:
    beginning = body[:EXCERPT].decode("utf-8", "replace")
    excerpt = " ".join(beginning.split()) + (" …" if len(body) > EXCERPT else "")
    return Body(len(body), hashlib.sha256(body).hexdigest(), excerpt)
