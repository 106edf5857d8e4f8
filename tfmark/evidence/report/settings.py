"""How a suspect was asked, as names and texts; and the commands with which to ask it again."""

from __future__ import annotations

import shlex
from dataclasses import fields

from tfmark.endpoints.dialect import Dialect
from tfmark.evidence.record import FILE, OBJECT, SERVICE, Evidence

KINDS = {
    SERVICE: "a service, asked over a network",
    FILE: "a model in a file, run by the claimant",
    OBJECT: "a model in the claimant's own program",
}
MOST_NAMES = 12


def settings(evidence: Evidence) -> dict[str, str]:
    """What was set, and what follows from it."""
    asking, spec = evidence.asking, evidence.spec
    found = {
        "images": f"{'x'.join(map(str, spec.image_shape))} pixels, scaled from "
                  "{:g} to {:g}".format(*evidence.commitment.value_range),
        "kind of mark": spec.scheme + (f", text “{spec.text}”" if spec.text else ""),
        "classes": str(spec.num_classes),
        "marks of the key": f"{spec.num_marks}, of which {evidence.first} were opened before",
        "questions allowed": str(evidence.num_marks),
        "error rate asked for": f"{evidence.verdict.alpha:g}",
    }  # fmt: skip
    if asking.digest:
        found["SHA-256 of the model"] = asking.digest
    if evidence.exchanges:
        found["requests"] = (
            f"{len(evidence.exchanges)}, each tried again up to {asking.retries} times"
        )
    found |= _dialect(asking.dialect)
    if evidence.verdict.alignment is not None:
        found["alignment of classes"] = evidence.verdict.alignment.sentence
    found["why asking ended"] = evidence.verdict.reason
    return found


def again(evidence: Evidence) -> str:
    """The suspect as an argument on a command line, or a word for it."""
    name = evidence.asking.name
    if evidence.asking.kind != SERVICE:
        return "MODEL_FILE"
    return shlex.quote(name) if name.isascii() and name.isprintable() and len(name) < 300 else "URL"


def _dialect(dialect: Dialect) -> dict[str, str]:
    made = {}
    for field in fields(Dialect):
        value = getattr(dialect, field.name)
        if value == field.default:
            continue
        if field.name == "class_names":
            names = ", ".join(name[:40] for name in value[:MOST_NAMES])
            value = f"{len(value)}: {names}{' …' if len(value) > MOST_NAMES else ''}"
        made[field.name.replace("_", " ")] = str(value)
    return made
