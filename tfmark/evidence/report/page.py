"""`render_report`: evidence as one HTML page."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from tfmark.commitment import Commitment
from tfmark.errors import TimeStampError
from tfmark.evidence.choices import Choice, choices, log_tries
from tfmark.evidence.record import Evidence
from tfmark.evidence.report import numbers
from tfmark.evidence.report.certificates import server_certificates
from tfmark.evidence.report.lift_rows import lift_rows
from tfmark.evidence.report.plot import draw_plot
from tfmark.evidence.report.questions import questions
from tfmark.evidence.report.settings import KINDS, again, settings
from tfmark.evidence.report.wire import wire_rows
from tfmark.evidence.steps import Audit
from tfmark.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment

    from tfmark.time_stamps import TimeStamp


SECTIONS = (
    "plot", "meaning", "audit", "questions", "thorough", "commitment", "choices", "asking",
    "checking", "limits",
)  # fmt: skip
SECTIONS_IF_REFUSED = "audit", "checking", "limits"


def render_report(evidence: Evidence, audit: Audit | None = None) -> str:
    """Show evidence as one HTML page that needs no network and runs no script.

    The same evidence gives the same page, byte for byte. What a suspect or a claimant wrote is
    escaped, shortened, and shown with its invisible characters.

    Example:
    ```python
    audit = tfmark.audit("evidence.zip", tsa_ca="authority.pem")
    page = render_report(audit.evidence, audit)
    ```

    Args:
        evidence: the evidence, of `tfmark.Evidence.load` or an audit.
        audit: what `tfmark.audit` found in it. Defaults to `None`: the page says that nobody
            checked what it shows. Of evidence that was refused it shows no findings.

    Returns:
        The page.

    Raises:
        InvalidArgumentError: if evidence that was not audited cannot be.
    """
    holds = audit is None or audit.holds
    facts = _facts(evidence, audit) | {"holds": holds}
    if holds:
        facts |= _findings(evidence)
    return _templates().get_template("page.html").render(facts)


def _facts(evidence: Evidence, audit: Audit | None) -> dict[str, Any]:
    """What is shown of any evidence, also of some that was refused."""
    shown = SECTIONS if audit is None or audit.holds else SECTIONS_IF_REFUSED
    empty = {"audit"} if audit is None else set()
    if evidence.thorough is None:
        empty.add("thorough")
    return {
        "evidence": evidence,
        "verdict": evidence.verdict,
        "commitment": evidence.commitment,
        "owner": evidence.commitment.owner,
        "audit": audit,
        "sections": [section for section in shown if section not in empty],
        "kind": KINDS[evidence.asking.kind],
        "suspect": again(evidence),
        "signer": _public_key(evidence.commitment),
        "class_names": evidence.asking.dialect.class_names or (),
        "time_stamps": [_stamp(response) for response in evidence.time_stamps],
    }


def _findings(evidence: Evidence) -> dict[str, Any]:
    """What the rest of the templates shows of evidence that holds."""
    verdict, made = evidence.verdict, _choices(evidence)
    rows = questions(evidence)
    log10_alpha = -math.log10(verdict.alpha)
    log10_tries = log_tries(made) / math.log(10)
    return {
        "questions": rows,
        "lifts": lift_rows(evidence),
        "plot": draw_plot(rows, log10_alpha, log10_alpha + log10_tries),
        "log10_alpha": log10_alpha,
        "log10_needed": log10_alpha + log10_tries,
        "log10_best": max(0.0, *(row.log10_evidence for row in rows)),
        "choices": [(choice.what, math.exp(min(choice.log_tries, 700))) for choice in made],
        "certificates": server_certificates(evidence.exchanges),
        "exchanges": wire_rows(evidence.exchanges),
        "settings": settings(evidence),
    }


def _choices(evidence: Evidence) -> tuple[Choice, ...]:
    return choices(
        evidence.first, evidence.spec.num_classes, evidence.commitment.value_range,
        evidence.asking.dialect, evidence.verdict.alignment, evidence.exchanges,
        evidence.thorough is not None,
    )  # fmt: skip


def _stamp(response: bytes) -> TimeStamp | None:
    from tfmark.time_stamps import read_time_stamp

    try:
        return read_time_stamp(response)
    except TimeStampError:
        return None


def _public_key(commitment: Commitment) -> str:
    """The key under the owner's signature as openssl takes it (DER of RFC 8410, in hex)."""
    return "302a300506032b6570032100" + commitment.signer


@cache
def _templates() -> Environment:
    """The templates. Whatever goes into a page is escaped, and made visible, on its way."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "visible": visible,
        "number": numbers.shown,
        "at_most": numbers.at_most,
        "power": numbers.power_of_ten,
        "odds": numbers.odds,
    }
    return templates


def _seen(value: Any) -> Any:
    from markupsafe import Markup

    return (
        visible(value, 2000) if isinstance(value, str) and not isinstance(value, Markup) else value
    )
