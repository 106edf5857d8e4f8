"""Asks a suspect about triggers until the test is decided."""

from __future__ import annotations

from dataclasses import replace

from tfmark.endpoints.base import Endpoint, checked_ids
from tfmark.endpoints.service import Suspect
from tfmark.errors import EndpointError
from tfmark.sequential import SequentialTest
from tfmark.triggers import TriggerSet
from tfmark.verdict import Verdict


def ask(suspect: Endpoint, triggers: TriggerSet, test: SequentialTest) -> Verdict:
    """Ask until the test is decided.

    Args:
        suspect: the suspect.
        triggers: one for each mark that may be asked, in order.
        test: the test, with what was answered before, if anything; it counts on.
    """
    while count := test.questions():
        asked = slice(test.queries, test.queries + count)
        try:
            answers = checked_ids(suspect.classify(triggers.pixels[asked]), count)
        except EndpointError as error:
            return test.verdict(str(error))
        test.record(answers, triggers.labels[asked])
    verdict = test.verdict()
    remark = suspect.remark if isinstance(suspect, Suspect) and not verdict.owned else ""
    return replace(verdict, reason=f"{verdict.reason} {remark}".rstrip())
