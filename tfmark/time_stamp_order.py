"""The certificates in a time stamp, sorted.

They are a set, which DER sorts, and rfc3161-client reads no other. OpenSSL sends them from the
authority up to the root, and many authorities are made of it. No signature is over their order.
"""

from __future__ import annotations

_CERTIFICATES = 0xA0  # [0] in SignedData


def sort_certificates(response: bytes) -> bytes:
    """The same response with its certificates sorted, or as it is if there are none to be found."""
    try:
        _, token = _values(response)
        _, content = _values(token)
        (signed_data,) = _values(content)
        (found,) = [value for value in _values(signed_data) if value[0] == _CERTIFICATES]
        certificates = _values(found)
    except (ValueError, IndexError):
        return response
    return response.replace(b"".join(certificates), b"".join(sorted(certificates)), 1)


def _values(outer: bytes) -> list[bytes]:
    """The values (DER) in the first of these bytes, each with its header."""
    values = []
    at, end = _content(outer, 0)
    while at < end:
        _, after = _content(outer, at)
        values.append(outer[at:after])
        at = after
    return values


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of a value begins and ends."""
    start, length = at + 2, data[at + 1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start])
    return start, start + length
