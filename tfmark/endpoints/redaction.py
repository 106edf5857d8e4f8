"""What a server says about an error, without the secrets that it may repeat.

Servers quote the JSON that they do not like, which is triggers, and hostile ones quote headers.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable

_NUMBERS = re.compile(r"[-+.,\[\]\s\deE]{12,}")
_LONG_WORD = re.compile(r"\S{60,}")
_SHORTEST_SECRET = 3


def explanation(answer: bytes, secrets: Iterable[str]) -> str:
    """The text of an error body in one line of at most 200 characters.

    Args:
        answer: the body: JSON with an "error", HTML, or anything.
        secrets: words that are left out, as are long runs of numbers and very long words.
    """
    text = answer[:2000].decode("utf-8", "replace")
    if "<html" in text.lower():
        text = re.sub(r"<[^>]*>", " ", text)
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"])
    text = "".join(character if character.isprintable() else " " for character in text)
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "...")
    text = _LONG_WORD.sub("...", _NUMBERS.sub(" ... ", text))
    return " ".join(text.split())[:200] or "no explanation"


def words(text: str) -> set[str]:
    """A header's value or a query, and the words in it that could be credentials."""
    parts = {text, *re.split(r"[\s=&,;:?]+", text)}
    return {part for part in parts if len(part) >= _SHORTEST_SECRET}
