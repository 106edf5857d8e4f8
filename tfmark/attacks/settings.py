"""Checks of an attack's settings."""

from __future__ import annotations

from typing import Any

from tfmark.errors import InvalidArgumentError


def check_choice(name: str, value: Any, *choices: str) -> None:
    """Raise `InvalidArgumentError` unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise _invalid(name, value, f"one of {', '.join(map(repr, choices))}")


def check_share(name: str, value: Any) -> None:
    """Raise `InvalidArgumentError` unless `value` is above 0 and at most 1."""
    if isinstance(value, bool) or not (isinstance(value, int | float) and 0 < value <= 1):
        raise _invalid(name, value, "a number above 0 and up to 1")


def check_count(name: str, value: Any) -> None:
    """Raise `InvalidArgumentError` unless `value` is a positive whole number."""
    if type(value) is not int or value < 1:
        raise _invalid(name, value, "a positive whole number")


def check_positive(name: str, value: Any) -> None:
    """Raise `InvalidArgumentError` unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not (isinstance(value, int | float) and 0 < value < float("inf")):
        raise _invalid(name, value, "a positive number")


def _invalid(name: str, received: Any, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Invalid value for argument `{name}`. Expected {expected}. Received: {name}={received!r}"
    )
