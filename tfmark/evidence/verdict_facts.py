"""A verdict as the facts of evidence have it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from tfmark.alignment import Alignment
from tfmark.errors import EvidenceError
from tfmark.evidence.facts import only, take
from tfmark.verdict import INCONCLUSIVE, NOT_SHOWN, OWNED, Thorough, Verdict


def write_verdict(verdict: Verdict) -> dict[str, Any]:
    """The facts of a verdict."""
    facts = asdict(verdict)
    if verdict.alignment is not None:
        classes = [list(pair) for pair in verdict.alignment.classes.items()]
        facts["alignment"] |= {"classes": classes, "unseen": list(verdict.alignment.unseen)}
    return facts


def read_verdict(facts: dict[str, Any]) -> Verdict:
    """The verdict of such facts.

    Raises:
        EvidenceError: if they are not as `write_verdict` makes them.
    """
    only(facts, (field.name for field in fields(Verdict)))
    status = take(facts, "status", str)
    if status not in (OWNED, NOT_SHOWN, INCONCLUSIVE):
        raise EvidenceError("the verdict is none that tfmark finds")
    tail, thorough = facts["tail_p_value"], facts["thorough"]
    if thorough is not None:
        only(thorough, (field.name for field in fields(Thorough)))
        counts = {name: take(thorough, name, int) for name in ("rounds", "marks", "lifted")}
        thorough = Thorough(**counts, p_value=take(thorough, "p_value", float))
    alignment = facts["alignment"]
    if alignment is not None:
        only(alignment, (field.name for field in fields(Alignment)))
        alignment = Alignment(
            classes=dict(take(alignment, "classes", list)),
            agreement=take(alignment, "agreement", float),
            images=take(alignment, "images", int),
            one_to_one=take(alignment, "one_to_one", bool),
            unseen=tuple(take(alignment, "unseen", list)),
        )
    return Verdict(
        status=status,
        p_value=take(facts, "p_value", float),
        evidence_bits=take(facts, "evidence_bits", float),
        queries=take(facts, "queries", int),
        matches=take(facts, "matches", int),
        alpha=take(facts, "alpha", float),
        num_classes=take(facts, "num_classes", int),
        num_marks=take(facts, "num_marks", int),
        tail_p_value=None if tail is None else take(facts, "tail_p_value", float),
        reason=take(facts, "reason", str),
        alignment=alignment,
        tries=take(facts, "tries", float),
        thorough=thorough,
    )
