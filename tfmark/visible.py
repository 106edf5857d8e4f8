"""Texts of strangers, made fit to be shown: nothing in them is invisible, moves others, or is long.

A name that reverses what stands after it, an answer that moves the cursor, or one of ten megabytes
would let a suspect or a claimant change what a reader believes to see.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

LONGEST = 300  # characters
_BLANK = set("\u115f\u1160\u2800\u3164\uffa0")  # printable by name, but not to be seen
_STACKED = 2  # marks over or under a letter; more of them reach into other lines


def visible(text: str, longest: int = LONGEST) -> str:
    """A text in which each character that cannot be seen stands as its number, such as [U+202E].

    Args:
        text: any text.
        longest: how many of its characters are shown.
    """
    shown = "".join(_shown(text[:longest]))
    return shown if len(text) <= longest else f"{shown} … ({len(text):,} characters)"


def _shown(text: str) -> Iterator[str]:
    stacked = 0
    for letter in text:
        stacked = stacked + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        plain = letter.isprintable() and letter not in _BLANK and stacked <= _STACKED
        yield letter if plain else f"[U+{ord(letter):04X}]"
