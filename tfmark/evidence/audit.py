"""`tfmark.audit`: checks evidence from the file alone, and can put its questions again."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Unpack

import numpy as np

from tfmark.endpoints.options import EndpointOptions
from tfmark.evidence.bundle import check_signature, read_evidence, read_members
from tfmark.evidence.checks import (
    check_answers,
    check_commitment,
    check_verdict,
    count_choices,
    new_test,
    run_test,
)
from tfmark.evidence.choices import log_tries
from tfmark.evidence.live import ask_again, thorough_triggers
from tfmark.evidence.openings import check_bases, check_marks, triggers_of
from tfmark.evidence.record import FILE, SERVICE, Evidence
from tfmark.evidence.replay import Replayed, replay
from tfmark.evidence.same_images import check_same_images
from tfmark.evidence.stamps import Authorities, check_stamps
from tfmark.evidence.steps import HOLDS, OPEN, REFUSED, Audit, Protocol, RefusedStepError, Step
from tfmark.sequential import check_alpha
from tfmark.triggers import TriggerSet
from tfmark.verdict import INCONCLUSIVE, Verdict


def audit(
    path: str | os.PathLike[str],
    *,
    alpha: float = 1e-9,
    tsa_ca: str | os.PathLike[str] | None = None,
    ask: str | os.PathLike[str] | None = None,
    **options: Unpack[EndpointOptions],
) -> Audit:
    """Check a file of evidence: everything in it is computed again.

    It takes neither the owner's key nor the network, unless `ask` is given.

    Example:
    ```python
    >>> verdict = tfmark.verify("http://localhost:8501/v1/models/digits", key, evidence="e.zip")
    >>> found = tfmark.audit("e.zip")
    >>> found.holds, found.proves
    (True, False)
    >>> found.missing  # `tfmark timestamp` has commitments stamped
    ('no trusted authority says that the commitment is older than the suspect',)
    ```

    Args:
        path: the file that `tfmark.verify(..., evidence=path)` wrote.
        alpha: the highest tolerable probability of accusing a model that was made without the key.
            It is the auditor's own: what the claimant asked for may be anything. Defaults to 1e-9.
        tsa_ca: certificates (PEM) of the time-stamping authorities to trust. Defaults to `None`,
            those of the system; a stamp by an authority that is not among them then counts as not
            checked.
        ask: address or file of a suspect, which is asked the same questions again. Defaults to
            `None`: nobody is asked.
        **options: for `ask`, the options of `tfmark.endpoint_from`.

    Returns:
        An `Audit`. What does not hold is refused, with the name of the step, and nothing after it
        is looked at.

    Raises:
        InvalidArgumentError: if an argument cannot work.
        OSError: if a file cannot be read.
    """
    check_alpha(alpha)
    authorities = Authorities.load(tsa_ca)
    protocol = Protocol()
    try:
        found, triggers, replayed = _read(protocol, path, authorities)
        made = protocol.run(
            "choices",
            "What the claimant could have chosen is counted against the claim.",
            lambda: count_choices(found, replayed),
        )
        verdict = protocol.run(
            "verdict",
            "Computed again from the answers, it is the same.",
            lambda: check_verdict(found, run_test(found, triggers, replayed), made),
        )
        found = replace(found, verdict=verdict)
        again = None
        if ask is not None:
            test = new_test(verdict, log_tries(made))
            again = ask_again(found, triggers, test, ask, dict(options))
            protocol.add(_asked_again(again, verdict))
    except RefusedStepError:
        return Audit(tuple(protocol.steps), alpha)
    return Audit(tuple(protocol.steps), alpha, found, verdict, made, again)


def _read(
    protocol: Protocol, path: str | os.PathLike[str], authorities: Authorities
) -> tuple[Evidence, TriggerSet, Replayed]:
    """From the bytes of the file to the answers of the suspect."""
    members = protocol.run(
        "file",
        "Undamaged, and written in the one way in which evidence is.",
        lambda: read_members(path),
    )
    found = protocol.run(
        "contents", "Complete, and nothing else is in it.", lambda: read_evidence(members)
    )
    published, spec = found.commitment, found.spec
    protocol.run(
        "signature",
        f"All of it is signed by {published.owner or 'the key, which names no owner'}.",
        lambda: check_signature(members, published),
    )
    protocol.run(
        "commitment",
        f"{published.commitment} binds {spec.num_marks} marks.",
        lambda: check_commitment(found),
    )
    protocol.add(check_stamps(found, authorities))
    root, first, count = bytes.fromhex(published.commitment), found.first, len(found.openings)
    protocol.run(
        "marks",
        f"{count} marks, from {first} on, are bound by the commitment. None was left out.",
        lambda: check_marks(found.openings, first, spec, root),
    )
    protocol.run(
        "base images",
        "Each mark is on the image that the commitment puts it on.",
        lambda: _check_images(found),
    )
    asked = found.openings[: len(found.answers)]
    triggers = protocol.run(
        "triggers",
        f"{len(asked)} triggers and their labels follow from the marks"
        + (", and those of the thorough question." if found.thorough else "."),
        lambda: triggers_of(asked, spec, root, published.value_range),
    )
    return found, triggers, _answers(protocol, found, triggers)


def _check_images(found: Evidence) -> None:
    check_bases(found.openings, found.spec)
    if found.thorough is not None:
        check_same_images(found.thorough, found.openings, found.spec)


def _answers(protocol: Protocol, found: Evidence, triggers: TriggerSet) -> Replayed:
    """The answers, from what crossed the wire if anything did."""
    if found.asking.kind != SERVICE:
        where = "a file" if found.asking.kind == FILE else "the claimant's own program"
        text = (
            f"They are the claimant's word: the model was in {where}. Ask it again to check them."
        )
        protocol.add(Step("answers", OPEN, text))
        answers, rounds = np.array(found.answers, np.int64), found.asking.rounds
        scores = None if found.thorough is None else found.thorough.scores
        return Replayed(answers, found.verdict.alignment, (0,) * (len(rounds) + 1), scores)
    replayed = protocol.run(
        "requests",
        f"{len(found.exchanges)} requests asked about these triggers, in order, and nothing else.",
        lambda: replay(found, triggers, thorough_triggers(found)),
    )
    protocol.run(
        "answers",
        "Read again from what was received, they are the same. That it was received from there is "
        "the claimant's word: ask again, or hear a witness.",
        lambda: check_answers(found, replayed),
    )
    return replayed


def _asked_again(again: Verdict, before: Verdict) -> Step:
    """Only a suspect that was shown to carry the watermark is refuted by not showing it now."""
    status = HOLDS if again.owned or not before.owned else REFUSED
    if again.status == INCONCLUSIVE:
        status = OPEN
    return Step("asked again", status, again.sentence)
