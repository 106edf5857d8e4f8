"""What may be shown of words that are not ours: without secrets, and short.

Servers quote the JSON that they do not like, which is triggers, and hostile ones quote credentials,
in bodies of errors or in the names of things.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote_plus

from tfmark.errors import TfmarkError

LONGEST = 500  # characters of a message
_READ = 20_000  # bytes of an error's body
_NUMBERS = re.compile(r"[-+.,\[\]\s\deE]{12,}")
_TAGS = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_LONG_WORD = re.compile(r"\S{60,}")
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SHORTEST_SECRET = 3
_CODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")


class Redactor:
    """Takes secrets out of texts.

    Args:
        secrets: values of headers, queries, passwords; they and the words in them are taken out.
    """

    def __init__(self, secrets: Iterable[str] = ()):
        found = {word for secret in secrets for word in words(secret)}
        self._secrets = sorted(found, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """A text in one line, not too long, without secrets and what steers a terminal."""
        text = self._without_secrets(text)
        return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."

    def explanation(self, answer: bytes) -> str:
        """The text of an error's body in one line of at most 200 characters.

        Long runs of numbers and very long words are left out as well.

        Args:
            answer: the body: JSON with an "error", HTML, or anything.
        """
        text = answer[:_READ].decode("utf-8", "replace")
        if len(answer) > _READ:  # the last word may be half a secret
            text = text[: len(text) - len(re.split(r"\s", text)[-1])]
        if text.lstrip().startswith("<"):
            text = html.unescape(_TAGS.sub(" ", text))
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            text = str(json.loads(text)["error"])
        text = _LONG_WORD.sub("...", _NUMBERS.sub(" ... ", self._without_secrets(text)))
        return " ".join(text.split())[:200] or "no explanation"

    def _without_secrets(self, text: str) -> str:
        text = "".join(character if character.isprintable() else " " for character in text)
        return self._blotted(" ".join(text.split()))

    def blot(self, body: bytes) -> bytes:
        """A body without secrets.

        In JSON they are taken out of texts alone: a password may be a number, and numbers are
        answers. In other bodies, which may be binary, nothing is moved.
        """
        try:
            json.loads(text := body.decode())
        except (ValueError, RecursionError):
            for form in {secret.encode(coding, "replace")
                         for secret in self._secrets for coding in _CODINGS}:  # fmt: skip
                body = body.replace(form, b"." * len(form))
            return body
        return _JSON_TEXT.sub(self._blotted_text, text).encode()

    def _blotted_text(self, found: re.Match[str]) -> str:
        """A text of JSON, in which a secret may be written with escapes."""
        text = json.loads(found[0], strict=False)
        clean = self._blotted(text)
        return found[0] if clean == text else json.dumps(clean)

    def _blotted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return text

    def clean_all(self, value: Any) -> Any:
        """The same for all texts in a structure of lists, tuples and dicts."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {self.clean_all(key): self.clean_all(item) for key, item in value.items()}
        return (
            [self.clean_all(item) for item in value] if isinstance(value, list | tuple) else value
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors that leave the block have a clean message."""
        try:
            yield
        except TfmarkError as error:
            error.args = (self.clean(str(error)),)
            raise


def words(text: str) -> set[str]:
    """A header's value or a query, and the words in it that could be credentials, in any form."""
    parts = {text, *re.split(r"[\s=&,;:?]+", text)}
    parts |= {part.partition("=")[2] for part in re.split(r"[&?]", text)}
    parts |= {unquote_plus(part) for part in parts}
    parts |= {quote(part, safe) for part in parts for safe in ("", "/")}
    if text.lower().startswith("basic "):
        with contextlib.suppress(ValueError):
            parts |= words(base64.b64decode(text[6:]).decode("utf-8", "replace"))
    return {part for part in parts if len(part) >= _SHORTEST_SECRET}
