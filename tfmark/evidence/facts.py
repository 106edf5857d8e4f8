"""JSON for evidence: written in one way only, and read without believing it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tfmark.errors import EvidenceError

T = TypeVar("T")
LONGEST = 16 << 20  # bytes
MOST = 500_000  # values; each takes up to a hundred bytes of memory


def write_facts(facts: Any) -> bytes:
    """Facts as JSON, always the same bytes for the same facts.

    Raises:
        EvidenceError: if there are too many.
    """
    data = json.dumps(facts, indent=1, ensure_ascii=True, allow_nan=False).encode() + b"\n"
    if _is_too_large(data):
        raise EvidenceError("it has too many facts for a file of evidence")
    return data


def read_facts(data: bytes, name: str) -> dict[str, Any]:
    """Facts from JSON.

    Raises:
        EvidenceError: if it is not written as `write_facts` does.
    """
    try:
        if _is_too_large(data):
            raise ValueError
        facts = json.loads(data)
        same = write_facts(facts) == data
    except (ValueError, RecursionError):
        raise EvidenceError(f"{name} is not JSON of evidence") from None
    if not (isinstance(facts, dict) and same):
        raise EvidenceError(f"{name} is not written as tfmark writes it")
    return facts


def _is_too_large(data: bytes) -> bool:
    return len(data) > LONGEST or sum(map(data.count, (b",", b"[", b"{"))) > MOST


def take(facts: dict[str, Any], name: str, kind: type[T]) -> T:
    """A fact, which has to be of this very type.

    Raises:
        EvidenceError: if it is missing or of another one.
    """
    value = facts.get(name)
    if type(value) is not kind:
        raise EvidenceError(
            f"{name!r} has to be of the type {kind.__name__}, not {type(value).__name__}"
        )
    return value


def only(facts: dict[str, Any], names: Iterable[str]) -> None:
    """Refuse facts that have other names than these.

    Raises:
        EvidenceError: if they have.
    """
    if facts.keys() != set(names):
        raise EvidenceError(f"the facts {sorted(facts.keys() ^ set(names))} are missing or unknown")


def take_time(facts: dict[str, Any], name: str) -> datetime:
    """A time in UTC."""
    text = take(facts, name, str)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise EvidenceError(f"{name!r} is not a time") from None
    if time.utcoffset() != timedelta(0) or time.isoformat() != text:
        raise EvidenceError(f"{name!r} is not a time in UTC")
    return time


def take_hex(facts: dict[str, Any], name: str, size: int) -> bytes:
    """So many bytes in hex."""
    return unhex(take(facts, name, str), size, name)


def unhex(text: Any, size: int, name: str) -> bytes:
    """So many bytes out of a text of lower-case hex."""
    try:
        value = bytes.fromhex(text)
    except (TypeError, ValueError):
        value = b""
    if len(value) != size or value.hex() != text:
        raise EvidenceError(f"{name!r} is not {size} bytes in hex")
    return value
