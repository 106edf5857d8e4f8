"""The journal of a scan: what was answered so far, so that no batch of questions is sent twice.

One JSON object a line. The first says of which scan it is; the others of an endpoint how many of
its answers were counted, or its verdict. No addresses' queries, no triggers and no labels are in
it, but who reads it learns who is suspected: the file has mode 0600.

It is the owner's own file, so it is protected against damage, not against forgery: each line ends
with a checksum over itself and the first line. A line that was cut off by a power cut, or is not as
it was written, counts as not written: the worst that can follow is that marks are asked again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfmark.errors import InvalidArgumentError

FORMAT = 1
LONGEST_LINE = 1 << 16  # bytes
_SUM = ', "sum": "%s"}\n'
_SUM_LENGTH = len(_SUM % ("0" * 16))
_NAMES = {
    "format": "version of the format",
    "commitment": "commitment of the key",
    "opened": "number of marks opened before",
    "alpha": "alpha",
    "endpoints": "number of endpoints",
    "list": "hash of the list of endpoints",
}


@dataclass(frozen=True)
class Header:
    """Of which scan a journal is.

    Attributes:
        commitment: the key's.
        opened: how many of its marks had been opened before.
        alpha: error rate of the whole scan.
        endpoints: number of endpoints that it is shared by.
        list: SHA-256 of their addresses.
    """

    commitment: str
    opened: int
    alpha: float
    endpoints: int
    list: str

    def line(self) -> bytes:
        """The first line of the journal."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode() + b"\n"


class Journal:
    """A journal that is read, and then written at its end. Threads may share it.

    Args:
        path: where it is, or will be.
        header: of which scan it has to be.

    Attributes:
        damaged: number of lines that counted as not written.

    Raises:
        InvalidArgumentError: if there is a file that is not a journal of this scan, or another
            process writes it.
        OSError: if it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header):
        self.path = Path(path)
        self.damaged = 0
        self._first = header.line()
        self._lock = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK  # do not wait for a pipe
        self._file: int | None = os.open(self.path, flags, 0o600)
        try:
            self._check(self._file)
        except BaseException:
            self.close()
            raise

    def lines(self) -> Iterator[dict[str, Any]]:
        """What was written before. A last line that was cut off is removed."""
        end = len(self._first)
        with self.path.open("rb") as file:
            file.seek(end)
            while line := file.readline(LONGEST_LINE):
                if line.endswith(b"\n"):
                    end = file.tell()
                facts = self._facts(line)
                if facts is None:
                    self.damaged += 1
                else:
                    yield facts
        with self._lock:
            if self._file is not None and os.fstat(self._file).st_size > end:
                os.ftruncate(self._file, end)

    def write(self, facts: Mapping[str, Any]) -> None:
        """Add a line, and leave it to the system; once the journal is closed, do nothing.

        Raises:
            OSError: if it cannot be written.
        """
        text = json.dumps(facts)[:-1].encode()
        line = text + (_SUM % self._sum(text)).encode()
        with self._lock:
            if self._file is not None and os.write(self._file, line) != len(line):
                raise OSError(f"{self.path} cannot be written: there is no space left.")

    def close(self) -> None:
        """Wait until all of it is on the disk, and close it."""
        with self._lock:
            if self._file is not None:
                if stat.S_ISREG(os.fstat(self._file).st_mode):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = None

    def _check(self, file: int) -> None:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise InvalidArgumentError(f"Expected a regular file for the journal, not {self.path}.")
        _lock(file, self.path)
        found = os.pread(file, LONGEST_LINE, 0)
        line, newline, _ = found.partition(b"\n")
        if line + newline == self._first:
            pass
        elif not newline and self._first.startswith(found):  # new, or cut off at once
            os.ftruncate(file, 0)
            os.write(file, self._first)
        else:
            raise InvalidArgumentError(_difference(self.path, line, json.loads(self._first)))
        os.fchmod(file, 0o600)

    def _sum(self, text: bytes) -> str:
        return hashlib.sha256(self._first + text).hexdigest()[:16]

    def _facts(self, line: bytes) -> dict[str, Any] | None:
        text = line[:-_SUM_LENGTH]
        if line != text + (_SUM % self._sum(text)).encode():
            return None
        try:
            facts = json.loads(text + b"}")
        except (ValueError, RecursionError):
            return None
        return facts if isinstance(facts, dict) else None


def _difference(path: Path, line: bytes, wanted: dict[str, Any]) -> str:
    """Why a file with such a first line is not continued."""
    try:
        found = json.loads(line)
        other = [name for name in wanted if found[name] != wanted[name]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{path} is not the journal of a scan, and is left as it is. Expected another file."
    pairs = [f"{_NAMES[name]} {str(found[name])[:80]}, not {wanted[name]}" for name in other]
    return (
        f"{path} is the journal of another scan: {'; '.join(pairs) or 'its first line differs'}. "
        "Expected one of this scan, or a new file."
    )


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InvalidArgumentError(f"{path} is being written by another scan.") from None
