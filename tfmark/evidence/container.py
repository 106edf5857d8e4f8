"""The container of evidence: a ZIP file that holds its members as they are, in one way only.

Any program can unpack it. But there is exactly one container for some members: no compression, no
dates, no comments, names in order. A container that is read is written again and compared, so that
nothing in it can be hidden, doubled, or changed without changing a member, and nothing in it has to
be believed: no sizes of unpacked data, no paths outside, no links.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping

from tfmark.errors import EvidenceError

MAX_SIZE = 256 << 20  # bytes
MAX_MEMBERS = 20_000
_NAME = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)*(/[a-z0-9_]+(-[a-z0-9_]+)*)?(\.[a-z0-9]+)?", re.ASCII)
_LONGEST_NAME = 100

# Version 2.0 is needed, no flags, stored, 1 January 1980.
_SHARED = struct.Struct("<HHHHHIIIHH")
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_HEAD = len(_LOCAL) + _SHARED.size
_VERSION, _DATE = 20, 0x21
_MADE_BY = 3 << 8 | _VERSION  # Unix, so that the mode counts
_MODE = 0o100644 << 16


def pack(members: Mapping[str, bytes]) -> bytes:
    """The container of these members.

    Raises:
        EvidenceError: if it would be too large.
    """
    size = sum(map(len, members.values()))
    if size > MAX_SIZE or len(members) > MAX_MEMBERS:
        raise EvidenceError(
            f"Evidence of {size >> 20} MiB in {len(members)} files is too large. Expected at most "
            f"{MAX_SIZE >> 20} MiB in {MAX_MEMBERS} files. Images as PNG (pixels='png') take less."
        )
    parts: list[bytes] = []
    central: list[bytes] = []
    offset = 0
    for name, content in sorted(members.items()):
        encoded, length = name.encode("ascii"), len(content)
        shared = _SHARED.pack(
            _VERSION, 0, 0, 0, _DATE, zlib.crc32(content), length, length, len(encoded), 0
        )
        parts += [_LOCAL, shared, encoded, content]
        rest = struct.pack("<HHHII", 0, 0, 0, _MODE, offset)
        central += [_CENTRAL, struct.pack("<H", _MADE_BY), shared, rest, encoded]
        offset += _HEAD + len(encoded) + length
    directory = b"".join(central)
    count = len(members)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), offset, 0)
    return b"".join([*parts, directory, _END, end])


def unpack(data: bytes) -> dict[str, bytes]:
    """The members of a container.

    Raises:
        EvidenceError: if it is not exactly what `pack` makes of its members.
    """
    members: dict[str, bytes] = {}
    position = 0
    while data.startswith(_LOCAL, position):
        try:
            *_, size, length, _ = _SHARED.unpack_from(data, position + len(_LOCAL))
        except struct.error:
            raise EvidenceError("This file is truncated.") from None
        start = position + _HEAD + length
        name = data[position + _HEAD : start].decode("latin-1")
        if not _NAME.fullmatch(name) or length > _LONGEST_NAME:
            raise EvidenceError("This file has a member with a name that evidence does not have.")
        position = start + size
        members[name] = data[start:position]
        if position > len(data) or len(members) > MAX_MEMBERS:
            raise EvidenceError("This file is truncated, or has too many members.")
    if not members:
        raise EvidenceError("This is not a file of evidence.")
    if pack(members) != data:
        raise EvidenceError("This file is damaged, or was packed again, as evidence never is.")
    return members
