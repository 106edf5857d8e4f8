"""`tfmark robustness`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfmark.cli.common import FILE, KEY, plain_errors, quiet_tensorflow
from tfmark.cli.passphrases import load_key, passphrase_option

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey
    from tfmark.robustness_report import RobustnessReport

COLOURS = {
    "owned": "green",
    "owned, thorough": "green",
    "not shown": "yellow",
    "inconclusive": "red",
}
ROOMY = 120  # columns of a terminal in which settings have one of their own
OUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("model", type=FILE)
@KEY
@click.option("--data", required=True, metavar="TFDS_NAME|FOLDER|FILE.npz",
              help="What the model was trained on: digits or a set of TensorFlow Datasets; a "
                   "folder with a subfolder of images for each class; or a file with the arrays "
                   "x_train, y_train, x_test and y_test.")  # fmt: skip
@click.option(
    "--attacks", metavar="NAME,...", help="Names of attacks or of families of them.  [default: all]"
)
@click.option("--strength", type=click.Choice(("mild", "strong")), default="mild",
              show_default=True)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--list-attacks", is_flag=True, is_eager=True, expose_value=False,
              callback=lambda context, _, wanted: _list_attacks(context) if wanted else None,
              help="Show the names and settings of all attacks, and end.")  # fmt: skip
@click.option("--json", "json_file", type=OUT, metavar="FILE", help="Write all figures as JSON.")
@click.option("--plot", "plot_file", type=OUT, metavar="FILE",
              help="Draw test accuracy against watermark accuracy (.png, .svg, .pdf).")  # fmt: skip
@passphrase_option
@plain_errors
def robustness(
    model: Path,
    key: Path,
    data: str,
    attacks: str | None,
    strength: str,
    seed: int,
    json_file: Path | None,
    plot_file: Path | None,
    passphrase_file: str | None,
) -> None:
    """Attack a model, and see whether its watermark survives.

    MODEL is a .keras file with the watermark of KEY. Each attack works on a copy. The attacker has
    the training images with their labels, and half of the test images without; the other half
    measures. Strong attacks train for hours where a training takes hours: pick some with --attacks.

    Exit code: 0 if the mark survives every attack that leaves the model useful (within 5 points of
    its test accuracy), 1 otherwise, 2 bad input.
    """
    _check_ready(json_file, plot_file)
    owner = load_key(key, passphrase_file)
    quiet_tensorflow()
    # It warns that many models are traced, which is what is done here.
    import logging

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    report = _run(model, owner, data, attacks, strength, seed)
    if json_file:
        json_file.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    if plot_file:
        report.plot(plot_file)
    sys.exit(0 if report.survives else 1)


def _run(
    model: Path, key: WatermarkKey, data: str, attacks: str | None, strength: str, seed: int
) -> RobustnessReport:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tfmark.attacking import robustness as attack
    from tfmark.attacks.catalogue import chosen
    from tfmark.labelled_data import load_labelled

    names = None if attacks is None else [name.strip() for name in attacks.split(",")]
    named = chosen(names, strength)
    dataset = load_labelled(data, key)
    loaded = _load(model)
    console = Console()
    columns = (
        TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        whole = progress.add_task(f"{strength} attacks", total=len(named))
        one = progress.add_task("", total=None)

        def watch(done: int, share: float) -> None:
            progress.update(whole, completed=done + (share == 1))
            progress.update(
                one, description=named[done][0], completed=round(100 * share),
                total=100 if share else None,
            )  # fmt: skip

        report = attack(loaded, key, dataset, names, strength, seed, watch)
    console.print(_table(report, console.width))
    console.print(report.summary, markup=False, highlight=False, soft_wrap=not console.is_terminal)
    return report


def _load(path: Path) -> Any:
    from tfmark.endpoints.model_files.keras_file import load_keras
    from tfmark.errors import InvalidArgumentError

    try:
        return load_keras(path)
    except Exception as error:  # whatever Keras raises for a broken file
        text = " ".join(str(error).split())[:300]
        raise InvalidArgumentError(f"Cannot load {path} as a Keras model: {text}") from None


def _table(report: RobustnessReport, width: int) -> Any:
    """The rows; where there is little room, with each setting below the name of its attack."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    narrow = width < ROOMY
    table = Table(title=f"{report.strength} attacks, seed {report.seed}", box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))  # fmt: skip
    table.add_column("attack", no_wrap=not narrow)
    if not narrow:
        table.add_column("setting")
    for name in ("test", "marks,\ntrained", "marks,\nunseen"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("p-value", justify="right", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for row in report.rows:
        attack, setting, *shares, _, p_value, seconds = map(escape, row.cells())
        if row.problem:
            setting = f"{setting}\n[red]{escape(row.problem)}[/]".strip()
        about = [f"{attack}\n[dim]{setting}[/]"] if narrow else [attack, setting]
        styled = f"[{COLOURS.get(row.status, 'red')}]{row.status}[/]"
        useful = row.verdict is None or report.is_useful(row)
        table.add_row(*about, *shares, styled, p_value, seconds, style="" if useful else "dim")
    table.caption = "Dim: the model is no longer within 5 points of its test accuracy."
    return table


def _list_attacks(context: click.Context) -> None:
    quiet_tensorflow()
    from tfmark.attacks import FAMILIES, catalogue

    for family, names in FAMILIES.items():
        click.echo(family)
        for name in names:
            for strength in ("mild", "strong"):
                for attack in catalogue(strength)[name]:
                    click.echo(f"  {name:23}{strength:8}{attack}")
    context.exit()


def _check_ready(json_file: Path | None, plot_file: Path | None) -> None:
    """Fail now rather than after hours."""
    from tfmark.errors import InvalidArgumentError, TfmarkError

    for file in (json_file, plot_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise InvalidArgumentError(f"There is no folder {file.absolute().parent}.")
    wanted = {"rich": "demo"} | ({"matplotlib": "plot"} if plot_file else {})
    for name, extra in wanted.items():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise TfmarkError(f"This needs {name}: pip install 'tfmark[{extra}]'") from None
    if plot_file is not None and plot_file.suffix not in (".png", ".svg", ".pdf"):
        raise InvalidArgumentError(f"Expected --plot FILE.png, .svg or .pdf, not {plot_file}.")
