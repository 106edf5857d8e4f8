"""One question and its answer, as they cross the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """What is sent.

    Attributes:
        method: method of HTTP, or "gRPC".
        address: address of HTTP, or the full name of a gRPC method.
        headers: headers or metadata.
        body: bytes of the body, `None` if there is none.
    """

    method: str
    address: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Answered:
    """What is received.

    Attributes:
        status: status of HTTP; 200 of gRPC, where others are errors.
        headers: headers.
        body: bytes of the body, decompressed.
        certificates: chain of the server's certificates (DER), its own first, where there was TLS.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
