"""`tfmark scan`."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfmark.cli.common import INTERRUPTED, KEY, plain_errors
from tfmark.cli.endpoint_options import collect, endpoint_options
from tfmark.cli.passphrases import load_key, passphrase_option

if TYPE_CHECKING:
    from tfmark.scanning import Result, Scan

STATUSES = ("owned", "not shown", "inconclusive")


@click.command()
@KEY
@click.argument("endpoints", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--alpha", type=float, default=1e-9, show_default=True,
              help="Highest tolerable probability of accusing any innocent model of the list: each "
                   "endpoint is tested at alpha divided by their number.")  # fmt: skip
@click.option("--json-lines", is_flag=True,
              help="Print each verdict as one line of JSON, and nothing else.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 256), default=16, show_default=True,
              metavar="N",
              help="Endpoints asked at a time, each in one request after the other.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The journal.  [default: ENDPOINTS.scan.jsonl]")  # fmt: skip
@click.option("--retry", is_flag=True,
              help="Ask those again that could not be asked properly, from where they "
                   "stopped.")  # fmt: skip
@passphrase_option
@endpoint_options
@plain_errors
def scan(
    key: Path,
    endpoints: str,
    alpha: float,
    json_lines: bool,
    concurrency: int,
    out: Path | None,
    retry: bool,
    passphrase_file: str | None,
    **options: Any,
) -> None:
    """Ask many models whether they carry KEY's watermark.

    ENDPOINTS is a text file with one address (or path) a line, as `tfmark verify` takes it; - reads
    standard input. Empty lines and lines that begin with # are skipped.

    Each answered batch of questions is written to the journal. The same command goes on where it
    was interrupted: by Ctrl-C or SIGTERM, after which the answers on their way are waited for, no
    longer than --timeout; or by a kill or a power cut, after which each endpoint may be asked its
    last batch of questions again. The options may differ, the key, alpha and the list may not.

    Exit code: 0 finished, whatever was found; 2 bad input; 130 interrupted.
    """
    from tfmark.endpoint_list import read_list
    from tfmark.errors import InvalidArgumentError
    from tfmark.scanning import Scan

    if endpoints == "-" == passphrase_file:
        raise click.UsageError("Standard input has the list or the passphrase, not both.")
    if out is None and endpoints == "-":
        raise click.UsageError("A list from standard input needs --out for the journal.")
    out = Path(endpoints + ".scan.jsonl") if out is None else out
    try:
        with click.open_file(endpoints, "rb") as file:
            addresses = read_list(file)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{endpoints}, {error}") from None
    whole = {"alpha": alpha, "endpoints": len(addresses)}
    with (
        Scan(load_key(key, passphrase_file), addresses, alpha, out, concurrency, retry,
             **collect(options)) as running,
        _signals(running.stop),
    ):  # fmt: skip
        if running.journal.damaged:
            lines = f"{running.journal.damaged} damaged lines"
            click.echo(f"{out}: {lines} count as not written", err=True)
        summary = Summary(alpha, len(addresses), running.alpha_each)
        _show(running, summary, whole if json_lines else None)
    if summary.counts.total() < len(addresses):
        done = f"{summary.counts.total()} of {len(addresses)} endpoints"
        note = f"interrupted: {done} have a verdict; the same command goes on (journal: {out})"
        click.echo(note, err=True)
        sys.exit(INTERRUPTED)
    if not json_lines:
        summary.show()


class Summary:
    """Counts verdicts, and remembers who is found owned."""

    def __init__(self, alpha: float, endpoints: int, alpha_each: float):
        self.alpha, self.endpoints, self.alpha_each = alpha, endpoints, alpha_each
        self.counts: Counter[str] = Counter()
        self.owned: list[tuple[str, float]] = []

    def add(self, result: Result) -> None:
        """Count one more."""
        self.counts[result.verdict.status] += 1
        if result.verdict.owned:
            self.owned.append((result.endpoint, result.verdict.p_value))

    def __str__(self) -> str:
        return ", ".join(f"{self.counts[status]} {status}" for status in STATUSES)

    def show(self) -> None:
        """Print what was found: how often, and each endpoint that is owned."""
        click.echo(f"\nalpha {self.alpha:g} over {self.endpoints} endpoints: "
                   f"{self.alpha_each:.3g} for each of them\n")  # fmt: skip
        for status in STATUSES:
            click.echo(f"{status:12} {self.counts[status]:7}")
        if self.owned:
            click.echo("\n p-value  over all endpoints  owned")
        for endpoint, p_value in self.owned:
            click.echo(f"{p_value:8.2g} {min(1, p_value * self.endpoints):19.2g}  {endpoint}")


def _show(running: Scan, summary: Summary, whole: dict[str, Any] | None) -> None:
    """Show verdicts as they come, as JSON if it is told what they are part of."""
    for result in running.finished():
        summary.add(result)
        if whole is not None:
            click.echo(_json(result, whole))
    if whole is None and (done := summary.counts.total()):
        click.echo(f"the journal has {done} verdicts: {summary}")
    live = whole is None and sys.stdout.isatty()
    for result in _with_bar(running.run(), summary) if live else running.run():
        summary.add(result)
        if whole is not None:
            click.echo(_json(result, whole))
        elif not live:
            click.echo(_line(result, summary))


def _json(result: Result, whole: dict[str, Any]) -> str:
    return json.dumps({"endpoint": result.endpoint, **result.verdict.to_dict(), "scan": whole})


def _line(result: Result, summary: Summary) -> str:
    verdict = result.verdict
    text = (
        verdict.reason
        if verdict.status == "inconclusive"
        else f"p-value {verdict.p_value:.2g}, {verdict.matches} matches in {verdict.queries}"
    )
    digits = len(str(summary.endpoints))
    place = f"{summary.counts.total():{digits}}/{summary.endpoints}"
    return f"{place} {verdict.status:12} {result.endpoint}: {text}"


def _with_bar(results: Iterable[Result], summary: Summary) -> Iterator[Result]:
    """Draw progress on the terminal while results are read; without rich, lines."""
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ModuleNotFoundError:
        for result in results:
            yield result
            click.echo(_line(result, summary))
        return
    columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress:
        done = summary.counts.total()
        task = progress.add_task(str(summary), total=summary.endpoints, completed=done)
        for result in results:
            yield result
            progress.update(task, advance=1, description=str(summary))
            if result.verdict.owned:
                progress.console.print(_line(result, summary), markup=False, highlight=False)


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first signal to end; the second one ends at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]

    def restore(*_: Any) -> None:
        stop.set()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    for number in numbers:
        signal.signal(number, restore)
    try:
        yield
    finally:
        restore()
