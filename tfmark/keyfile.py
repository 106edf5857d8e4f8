"""Key files on a disk: read in bounds, written whole or not at all, changed by one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tfmark.commitment import Commitment
from tfmark.derivation import SECRET_BYTES
from tfmark.errors import InvalidArgumentError, KeyFileError, KeyFileExistsError
from tfmark.key_format import (
    DIGEST,
    MAGIC,
    MAGIC_1,
    MAX_HEADER,
    PublicKeyFacts,
    open_body,
    pack,
    unpack,
)
from tfmark.key_lock import TAG
from tfmark.key_records import Records
from tfmark.spec import MAX_BASE_BYTES

__all__ = ["PublicKeyFacts", "Records", "read", "read_public", "save", "update_records", "write"]

LARGEST = len(MAGIC) + 4 + MAX_HEADER + SECRET_BYTES + MAX_BASE_BYTES + TAG + DIGEST

PathLike = str | os.PathLike[str]


def read(path: PathLike) -> bytes:
    """Read a file that may be a key file, but no more than the largest one there can be."""
    with Path(path).open("rb") as file:
        data = file.read(len(MAGIC))
        if data in (MAGIC, MAGIC_1):
            data += file.read(min(LARGEST, os.fstat(file.fileno()).st_size))
    return data


def read_public(path: PathLike) -> PublicKeyFacts:
    """What a key file shows without a passphrase.

    They are checked against the secret where it is not locked. Where it is, only the passphrase
    can tell whether somebody who could write the file changed them.

    Raises:
        KeyFileError: if the file is damaged, truncated, or not a key file.
        OSError: if it cannot be read.
    """
    facts, body = unpack(read(path))
    if not facts.locked:
        open_body(facts, body)
    return facts


def update_records(
    path: PathLike, change: Callable[[Records], Records], of: Commitment | None = None
) -> Records:
    """Change what a key file records, without its passphrase.

    Other processes wait, so that none loses what another one wrote; a crash leaves the file as it
    was, or as it is to be.

    Args:
        path: a key file.
        change: takes the records in the file, and gives those to be written.
        of: whose file it has to be. Defaults to anybody's.

    Returns:
        The records that were written.

    Raises:
        KeyFileError: if the file is damaged, not a key file, or of another key.
        InvalidArgumentError: if opened marks are to be closed again, or there are not so many.
        OSError: if it cannot be read or written.
    """
    path = Path(os.path.realpath(path))
    with _alone(path):
        facts, body = unpack(read(path))
        if of is not None and facts.commitment != of:
            raise KeyFileError(f"{path} is of another key by now.")
        records = change(facts.records)
        if records.opened < facts.records.opened:
            raise InvalidArgumentError(
                f"Expected at least {facts.records.opened} opened marks: what was shown stays "
                f"shown. Received: {records.opened}"
            )
        if records != facts.records:
            write(path, pack(replace(facts, records=records), body), overwrite=True)
    return records


def save(path: PathLike, facts: PublicKeyFacts, body: bytes, overwrite: bool) -> Records:
    """Write a key file; if it replaces one of the same key, what that one records is kept.

    Returns:
        The records that were written.
    """
    if not (overwrite and Path(path).exists()):
        write(path, pack(facts, body), overwrite)
        return facts.records
    path = Path(os.path.realpath(path))
    with _alone(path):
        with contextlib.suppress(KeyFileError):
            before, _ = unpack(read(path))
            if before.commitment == facts.commitment:
                facts = replace(facts, records=facts.records.merged(before.records))
        write(path, pack(facts, body), overwrite)
    return facts.records


def write(path: PathLike, data: bytes, overwrite: bool) -> None:
    """Write a file of mode 0600, whole or not at all."""
    path = Path(path)
    if overwrite:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".new")
    else:
        try:
            handle, name = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), str(path)
        except FileExistsError:
            raise KeyFileExistsError(
                f"{path} exists already and is not replaced: it may be the only copy of a key."
            ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Have a new name survive a power cut, where the file system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process changes a file. It may have been replaced meanwhile."""
    while True:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return
