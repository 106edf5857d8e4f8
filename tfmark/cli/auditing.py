"""`tfmark audit`."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfmark.cli.common import FILE, plain_errors
from tfmark.cli.endpoint_options import collect, endpoint_options

if TYPE_CHECKING:
    from tfmark.evidence.steps import Audit

SHOWS, REFUSED, SHOWS_NOTHING = 0, 1, 3
WIDTH = 88
LONGEST = 600  # characters of a step, which may quote a stranger


@click.command()
@click.argument("evidence", type=FILE, metavar="FILE.zip")
@click.option("--alpha", type=float, default=1e-9, show_default=True,
              help="Highest tolerable probability of accusing an innocent model, whatever the "
                   "claimant asked for.")  # fmt: skip
@click.option("--tsa-ca", type=FILE, metavar="CA.pem",
              help="Certificates of the time-stamping authorities to trust.  [default: those of "
                   "the system]")  # fmt: skip
@click.option("--ask", metavar="URL",
              help="Ask this suspect the same questions again, with the options below; what they "
                   "do not say is done as it was then.")  # fmt: skip
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.html",
              help="Write evidence and audit as a page for people.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@endpoint_options
@plain_errors
def audit(
    evidence: Path,
    alpha: float,
    tsa_ca: Path | None,
    ask: str | None,
    report: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check the evidence in FILE.zip.

    Everything in it is computed again. That takes neither the owner's key nor the network, unless
    --ask is given. Exit code: 0 it holds, and shows ownership; 1 refused; 2 bad input; 3 it holds,
    but is no proof (it says what it lacks), or the suspect that was asked again could not be asked
    properly.
    """
    from tfmark.evidence.audit import audit as check

    if report is not None and report.exists():
        raise click.UsageError(f"{report} exists already.")
    found = check(
        evidence, alpha=alpha, tsa_ca=tsa_ca, ask=ask, **(collect(options) if ask else {})
    )
    written = report is not None and _write(report, evidence, found)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        _show(evidence, found)
        if written:
            click.echo(f"\nwrote the report: {report}")
        elif report is not None:
            click.echo("\nno report was written: the file cannot be read as evidence")
    sys.exit(_exit_code(found))


def _exit_code(found: Audit) -> int:
    if not found.holds:
        return REFUSED
    again = found.asked_again
    return SHOWS if found.proves and (again is None or again.owned) else SHOWS_NOTHING


def _show(path: Path, found: Audit) -> None:
    """One line a step, then the outcome and what it means."""
    from tfmark.evidence.steps import REFUSED as DOES_NOT_HOLD
    from tfmark.visible import visible

    click.echo(f"{path}\n")
    width = max(len(step.name) for step in found.steps)
    for step in found.steps:
        status = step.status.upper() if step.status == DOES_NOT_HOLD else step.status
        click.echo(f"  {status:11}  {step.name:{width}}  {visible(step.text, LONGEST)}")
    click.echo("")
    if found.holds:
        click.echo(f"{_outcome(found)}\n")
    said = visible(found.sentence, 4 * LONGEST if found.holds else LONGEST)
    click.echo(textwrap.fill(said, WIDTH))


def _outcome(found: Audit) -> str:
    if not found.proves:
        shown = found.verdict is not None and found.verdict.owned
        return f"It holds, but {'is no proof' if shown else 'does not show ownership'}."
    if _exit_code(found) == SHOWS_NOTHING:
        return "It holds, but the suspect that was asked again gave no proper answer."
    return "It holds, and shows ownership."


def _write(report: Path, evidence: Path, found: Audit) -> bool:
    """Write the page, if the file can be read as evidence at all."""
    from tfmark.errors import EvidenceError
    from tfmark.evidence.record import Evidence
    from tfmark.evidence.report import render_report

    try:
        page = render_report(found.evidence or Evidence.load(evidence), found)
    except EvidenceError:
        return False
    with report.open("x", encoding="utf-8") as file:
        file.write(page)
    return True
