"""Whether two requests ask the same.

Years later another version may write the same numbers or pixels in another way. What may differ is
only what no model can see: how a number is spelled, and how a PNG file is compressed.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n"
LONGER = 8  # times as long as another a spelling may be
PLAY = 1 << 16  # bytes


def same_question(recorded: bytes | None, expected: bytes | None) -> bool:
    """Whether the body of a recorded request asks the same as the body that is expected."""
    if recorded == expected:
        return True
    if recorded is None or expected is None or len(recorded) > LONGER * len(expected) + PLAY:
        return False
    try:
        return _same(*(json.loads(body, parse_int=float, object_pairs_hook=_Members)
                       for body in (recorded, expected)))  # fmt: skip
    except (ValueError, RecursionError):
        return False


class _Members(list[Any]):
    """The members of an object, in order, so that none counts that stands there twice."""


def _same(recorded: Any, expected: Any) -> bool:
    if type(recorded) is not type(expected):
        return False
    if isinstance(expected, list | tuple):
        pairs = zip(recorded, expected, strict=False)
        return len(recorded) == len(expected) and all(_same(*pair) for pair in pairs)
    if isinstance(expected, str) and recorded != expected:
        return _same_picture(recorded, expected)
    return bool(recorded == expected)


def _same_picture(recorded: str, expected: str) -> bool:
    """Whether two texts are PNG files in base64 of the same pixels."""
    from PIL import Image

    try:
        files = [base64.b64decode(text, validate=True) for text in (recorded, expected)]
        if not all(file.startswith(PNG) for file in files):
            return False
        pictures = [Image.open(io.BytesIO(file), formats=["PNG"]) for file in files]
        if pictures[0].size != pictures[1].size or pictures[0].mode != pictures[1].mode:
            return False  # before anything is unpacked
        return pictures[0].tobytes() == pictures[1].tobytes()
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return False
