"""A list of suspects: one address a line, checked before anything is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import urllib3

from tfmark.endpoints.addresses import check_url, show
from tfmark.errors import InvalidArgumentError

LONGEST_LINE = 4096  # bytes
MOST_ENDPOINTS = 1_000_000


def read_list(file: IO[bytes]) -> list[str]:
    """Read a list of addresses. Empty lines and lines that begin with # are skipped.

    Args:
        file: the list, in UTF-8.

    Returns:
        Each address once, in the order of the list.

    Raises:
        InvalidArgumentError: if there is none, or a line is no address; the message names the
            first such line and shows nothing that may be secret.
    """
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(_lines(file), 1):
        try:
            address = _address(line)
        except InvalidArgumentError as error:
            problems.append(f"line {number}: {error}")
            continue
        if address:
            found.setdefault(_canonical(address), address)
        if max(len(found), len(problems)) > MOST_ENDPOINTS:
            raise InvalidArgumentError(f"Expected at most {MOST_ENDPOINTS} endpoints in the list.")
    if problems:
        others = f" ({len(problems) - 1} more lines are wrong)" if len(problems) > 1 else ""
        raise InvalidArgumentError(problems[0] + others)
    if not found:
        raise InvalidArgumentError("Expected at least one address in the list. Received none.")
    return list(found.values())


def hash_of(addresses: Sequence[str]) -> str:
    """SHA-256 of a list of addresses, in hex."""
    return hashlib.sha256("\n".join(addresses).encode()).hexdigest()


def shown(address: str) -> str:
    """An address as it may be printed and kept; the path of a file as it is."""
    return show(address) if "://" in address else address


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE + 2):
        yield line
        while len(line) == LONGEST_LINE + 2 and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE + 2)  # the rest of a line that is too long


def _address(line: bytes) -> str:
    if len(line.rstrip(b"\r\n")) > LONGEST_LINE:
        raise InvalidArgumentError(f"Expected at most {LONGEST_LINE} bytes.")
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidArgumentError("Expected text in UTF-8.") from None
    if not text or text.startswith("#"):
        return ""
    if not text.isprintable() or (" " in text and "://" in text):
        raise InvalidArgumentError("Expected one address, without blanks or control characters.")
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in ("grpc", "grpcs"):
        check_url("http" + text[4:])  # HOST:PORT/MODEL has the same form
    elif scheme or not _exists(text):
        check_url(text)
    return text


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with a NUL in it
        return False


def _canonical(address: str) -> str:
    """The same for all spellings of an address; a suspect is not asked twice for its upper case."""
    if not address.lower().startswith(("http://", "https://")):
        return address
    parts = urllib3.util.parse_url(address)
    port = parts.port or {"http": 80, "https": 443}[str(parts.scheme)]
    return f"{parts.scheme}://{parts.host}:{port}{(parts.path or '').rstrip('/')}?{parts.query}"
