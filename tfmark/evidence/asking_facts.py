"""Who was asked, and how, as the facts of evidence have it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tfmark.endpoints.dialect import Dialect
from tfmark.errors import EvidenceError
from tfmark.evidence.facts import only, take, unhex
from tfmark.evidence.record import FILE, OBJECT, SERVICE, Asking

_TEXTS = ("protocol", "signature", "version_label", "input", "output", "pixels")
_FLAGS = ("columns", "mirrored")
_DIALECT = {field.name: field.default for field in fields(Dialect)}


def write_asking(asking: Asking) -> dict[str, Any]:
    """The facts of an asking."""
    return {
        "kind": asking.kind,
        "name": asking.name,
        "sha256": asking.digest,
        "settings": _settings(asking.dialect),
        "retries": asking.retries,
        "rounds": list(asking.rounds),
    }


def read_asking(facts: dict[str, Any]) -> Asking:
    """The asking of such facts.

    Raises:
        EvidenceError: if they are not as `write_asking` makes them.
        InvalidArgumentError: if a setting cannot work.
    """
    only(facts, ("kind", "name", "sha256", "settings", "retries", "rounds"))
    rounds = take(facts, "rounds", list)
    if not all(type(size) is int and size > 0 for size in rounds):
        raise EvidenceError("a round is no number of questions")
    kind = take(facts, "kind", str)
    if kind not in (SERVICE, FILE, OBJECT):
        raise EvidenceError("a suspect is of no known kind")
    settings = take(facts, "settings", dict)
    if strange := settings.keys() - _DIALECT.keys():
        raise EvidenceError(f"settings {sorted(strange)} are unknown")
    texts = [settings[name] for name in _TEXTS if name in settings]
    flags = [settings[name] for name in _FLAGS if name in settings]
    if not (
        all(isinstance(text, str) for text in texts) and all(type(flag) is bool for flag in flags)
    ):
        raise EvidenceError("a setting is of the wrong type")
    scale = settings.get("value_range")
    if scale is not None:
        settings = settings | {"value_range": tuple(scale)}
    digest = take(facts, "sha256", str)
    return Asking(
        kind,
        take(facts, "name", str),
        unhex(digest, 32, "sha256").hex() if digest else "",
        Dialect(**settings),
        take(facts, "retries", int),
        tuple(rounds),
    )


def _settings(dialect: Dialect) -> dict[str, Any]:
    """The settings that somebody made, as JSON has them."""
    made = {name: getattr(dialect, name) for name in _DIALECT}
    return {
        name: list(value) if name in ("value_range", "class_names") else value
        for name, value in made.items()
        if value != _DIALECT[name]
    }
