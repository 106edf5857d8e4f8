"""Reads JSON as RapidJSON does in TensorFlow Serving: what it accepts, and its words for errors.

Python's parser is fast and accepts nearly the same. What it refuses, and strings with escaped
surrogates, of which it accepts too much, are read by a parser that follows RapidJSON exactly.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from tfmark.serving.rest_errors import RestError

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\n\r]*")
_INTEGER = re.compile(r"0|[1-9][0-9]*")
_DIGITS = re.compile(r"[0-9]+")
_EXPONENT = re.compile(r"[eE][+-]?")
_NOT_FINITE = re.compile(r"NaN|Inf(?:inity)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES = dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))


def read_json(body: bytes) -> Any:
    """Read the first JSON value of a request; what stands behind it is ignored.

    Bytes that are not UTF-8 are kept as surrogates ("surrogateescape").

    Raises:
        RestError: if there is none.
    """
    if not body:
        raise RestError("JSON Parse error: The document is empty")
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not _ESCAPED_SURROGATE.search(body):
        text = body.decode("utf-8", "surrogateescape")
        try:
            return _PYTHON.raw_decode(text.lstrip(" \t\n\r"))[0]
        except ValueError:
            pass
    return _Reader(body.decode("latin-1")).read()  # then offsets count bytes


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that is there twice the first value counts."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        result.setdefault(key, value)
    return result


def _double(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise ValueError("too big")
    return value


def _integer(token: str) -> int | float:
    """An integer of 64 bits, or a double."""
    if len(token) < 19:
        return int(token)
    value = _double(token)
    return int(token) if abs(value) < 1e20 and -(2**63) <= int(token) < 2**64 else value


_PYTHON = json.JSONDecoder(object_pairs_hook=_first, parse_float=_double, parse_int=_integer)


class _Reader:
    """RapidJSON's parser, on text of which each character stands for one byte."""

    def __init__(self, text: str):
        self._text = text
        self._at = 0

    def read(self) -> Any:
        self._take(_SPACE)
        if not self._peek():
            self._fail("The document is empty.")
        return self._value()

    def _value(self) -> Any:
        match self._peek():
            case "{":
                return self._object()
            case "[":
                return self._array()
            case '"':
                return self._string()
            case "n":
                return self._literal("null", None)
            case "t":
                return self._literal("true", True)
            case "f":
                return self._literal("false", False)
            case _:
                return self._number()

    def _object(self) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        self._skip(1)
        while not (not pairs and self._peek() == "}"):
            if self._peek() != '"':
                self._fail("Missing a name for object member.")
            name = self._string()
            self._skip(0)
            if self._peek() != ":":
                self._fail("Missing a colon after a name of object member.")
            self._skip(1)
            pairs.append((name, self._value()))
            self._skip(0)
            if self._peek() != ",":
                break
            self._skip(1)
        if self._peek() != "}":
            self._fail("Missing a comma or '}' after an object member.")
        self._at += 1
        return _first(pairs)

    def _array(self) -> list[Any]:
        items: list[Any] = []
        self._skip(1)
        while not (not items and self._peek() == "]"):
            items.append(self._value())
            self._skip(0)
            if self._peek() != ",":
                break
            self._skip(1)
        if self._peek() != "]":
            self._fail("Missing a comma or ']' after an array element.")
        self._at += 1
        return items

    def _string(self) -> str:
        pieces: list[bytes] = []
        self._at += 1
        while True:
            pieces.append(self._take(_PLAIN).encode("latin-1"))
            match self._peek():
                case '"':
                    self._at += 1
                    return b"".join(pieces).decode("utf-8", "surrogateescape")
                case "\\":
                    pieces.append(self._escape().encode())
                case "" | "\0":
                    self._fail("Missing a closing quotation mark in string.")
                case _:
                    self._fail("Invalid encoding in string.")

    def _escape(self) -> str:
        start = self._at
        letter = self._text[start + 1 : start + 2]
        self._at += 2
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != "u":
            self._fail("Invalid escape character in string.", start)
        code = self._hex(start)
        if 0xD800 <= code < 0xE000:
            low = 0
            if code < 0xDC00 and self._text.startswith("\\u", self._at):
                self._at += 2
                low = self._hex(start)
            if not 0xDC00 <= low < 0xE000:
                self._fail("The surrogate pair in string is invalid.", start)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return chr(code)

    def _hex(self, start: int) -> int:
        digits = self._take(_HEX)
        if not digits:
            self._fail("Incorrect hex digit after \\u escape in string.", start)
        return int(digits, 16)

    def _literal(self, word: str, value: Any) -> Any:
        for letter in word:
            if self._peek() != letter:
                self._fail("Invalid value.")
            self._at += 1
        return value

    def _number(self) -> int | float:
        start = self._at
        self._at += self._peek() == "-"
        if self._take(_NOT_FINITE):
            return float(self._text[start : self._at])
        if not self._take(_INTEGER):
            self._fail("Invalid value.")
        convert: Callable[[str], int | float] = _integer
        if self._peek() == ".":
            self._at += 1
            convert = _double
            if not self._take(_DIGITS):
                self._fail("Missing fraction part in number.")
        if self._take(_EXPONENT):
            convert = _double
            if not self._take(_DIGITS):
                self._fail("Missing exponent in number.")
        try:
            return convert(self._text[start : self._at])
        except ValueError:
            self._fail("Number too big to be stored in double.", start)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        token = match[0] if match else ""
        self._at += len(token)
        return token

    def _skip(self, count: int) -> None:
        """Pass over some characters and the space behind them."""
        self._at += count
        self._take(_SPACE)

    def _fail(self, problem: str, at: int | None = None) -> NoReturn:
        where = self._at if at is None else at
        raise RestError(f"JSON Parse error: {problem} at offset: {where}")
