"""Puts the questions of some evidence to a suspect again, which may be another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from tfmark.endpoints.base import checked_ids, checked_scores
from tfmark.endpoints.options import split_options
from tfmark.errors import EndpointError
from tfmark.evidence.record import Evidence
from tfmark.evidence.same_images import rounds_again
from tfmark.evidence.suspects import suspect_of
from tfmark.sequential import SequentialTest
from tfmark.thorough import weighed
from tfmark.triggers import TriggerSet
from tfmark.verdict import Verdict


def ask_again(
    evidence: Evidence,
    triggers: TriggerSet,
    test: SequentialTest,
    address: str | os.PathLike[str],
    options: dict[str, Any],
) -> Verdict:
    """Ask about the opened triggers, all of them: they are no secret any more.

    Args:
        evidence: the evidence; how its suspect was asked counts where `options` say nothing.
        triggers: its triggers.
        test: a test without answers.
        address: the suspect.
        options: the options of `tfmark.endpoint_from`.

    Raises:
        InvalidArgumentError: if the address or an option cannot work.
    """
    asked = asdict(evidence.asking.dialect)
    same_kind = "://" in os.fspath(address)
    settings = {name: value for name, value in asked.items() if name != "protocol" or same_kind}
    given = {name: value for name, value in options.items() if value not in (None, False)}
    dialect, connection = split_options(settings | given)
    try:
        suspect, _ = suspect_of(evidence, address, dialect, connection)
        test.record(checked_ids(suspect.classify(triggers.pixels), len(triggers)), triggers.labels)
        verdict = test.verdict()
        if evidence.thorough is None or verdict.owned:
            return verdict
        rounds = list(thorough_triggers(evidence))
        classes = evidence.spec.num_classes
        scores = [checked_scores(suspect, asked.pixels, classes) for asked in rounds]
    except EndpointError as error:
        return test.verdict(str(error))
    return weighed(verdict, np.stack(scores), rounds[0].labels, test.log_tries)


def thorough_triggers(evidence: Evidence) -> Iterator[TriggerSet]:
    """The triggers of the thorough question, round by round; none if it was not asked."""
    if evidence.thorough is not None:
        yield from rounds_again(
            evidence.thorough, evidence.openings, evidence.spec,
            bytes.fromhex(evidence.commitment.commitment), evidence.commitment.value_range,
        )  # fmt: skip
