"""`tfmark verify` and `tfmark probe`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from tfmark.cli.common import FILE, KEY, plain_errors
from tfmark.cli.endpoint_options import collect, endpoint_options
from tfmark.cli.passphrases import load_key, passphrase_option

EXIT_CODES = {"owned": 0, "not shown": 1, "inconclusive": 3}
NEW = click.Path(dir_okay=False, path_type=Path)


@click.command()
@KEY
@click.argument("url")
@click.option("--alpha", type=float, default=1e-9, show_default=True,
              help="Highest tolerable probability of accusing an innocent model.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.option("--max-queries", type=click.IntRange(1), metavar="N",
              help="The most questions that may be asked.  [default: the marks]")  # fmt: skip
@click.option("--thorough", is_flag=True,
              help="Where the ordinary question shows nothing, put all marks on the same 16 "
                   "images, and see towards which class each moves the answers.")  # fmt: skip
@click.option("--align", type=FILE, metavar="IMAGES.npz",
              help="Clean images and their class ids (arrays images and labels), asked first to "
                   "find out how the suspect numbers its classes.")  # fmt: skip
@click.option("--evidence", type=NEW, metavar="FILE.zip",
              help="Write evidence that a third party can check with tfmark audit. It opens the "
                   "marks that are asked.")  # fmt: skip
@click.option("--report", type=NEW, metavar="FILE.html",
              help="Write the same as a page for people, which opens marks as well. What "
                   "others can check is FILE.zip alone.")  # fmt: skip
@passphrase_option
@endpoint_options
@plain_errors
def verify(
    key: Path,
    url: str,
    alpha: float,
    as_json: bool,
    max_queries: int | None,
    thorough: bool,
    align: Path | None,
    evidence: Path | None,
    report: Path | None,
    passphrase_file: str | None,
    **options: Any,
) -> None:
    """Ask the model at URL whether it carries KEY's watermark.

    URL is the address of a model on TensorFlow Serving's REST API, such as
    http://localhost:8501/v1/models/digits, on KServe, Triton, MLServer, or MLflow; one over gRPC
    (grpc://HOST:PORT/MODEL); or the path of a .keras, .tflite or .onnx file or a SavedModel folder.
    Exit code: 0 owned, 1 not shown, 2 bad input, 3 inconclusive.
    """
    from tfmark.clean_images import load_clean_images
    from tfmark.verification import verify as ask

    clean = None if align is None else load_clean_images(align)
    owner = load_key(key, passphrase_file)
    before = owner.spec.num_marks - owner.records.opened
    verdict = ask(
        url, owner, alpha, max_queries=max_queries, thorough=thorough, clean=clean,
        evidence=evidence, report=report, **collect(options),
    )  # fmt: skip
    kept = {"evidence": evidence, "report": report} if verdict.status != "inconclusive" else {}
    written = {name: str(path) for name, path in kept.items() if path is not None}
    left = owner.spec.num_marks - owner.records.opened
    if as_json:
        opened = {"marks_left": left} if evidence or report else {}
        click.echo(json.dumps(verdict.to_dict() | written | opened))
    else:
        click.echo(f"{verdict.status}: p-value {verdict.p_value:.2g}, {verdict.matches} matches "
                   f"in {verdict.queries} questions")  # fmt: skip
        click.echo(verdict.sentence)
        if verdict.status == "not shown" and not thorough:
            click.echo("--thorough asks more, and sees more.")
        for name, path in written.items():
            click.echo(f"wrote the {name}: {path}")
        if written:
            click.echo(f"opened {before - left} marks for it: {left} of {owner.spec.num_marks} "
                       "are left for other disputes")  # fmt: skip
        elif evidence or report:
            click.echo("nothing was written, and no mark was opened")
    sys.exit(EXIT_CODES[verdict.status])


@click.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@endpoint_options
@plain_errors
def probe(url: str, as_json: bool, **options: Any) -> None:
    """Show what the service at URL says of itself.

    It also prints the command that verifies the model there. Nothing secret is sent, and no image.
    """
    from tfmark.endpoints.choosing import describe
    from tfmark.endpoints.options import split_options
    from tfmark.probing import report, verify_command

    dialect, connection = split_options(collect(options))
    redactor = connection.redactor(url)
    with redactor.errors():
        service, description = describe(url, dialect, connection)
    # What the caller wrote stays as it is; what the service added may repeat credentials.
    written = url.partition("?")[0].rstrip("/")
    added = service.address.removeprefix(written)
    address = service.address if added in written else written + redactor.clean(added)
    address += "?..." if "?" in url and "://" in url else ""
    command = verify_command(address, description, _repeated(), redactor.clean)
    if as_json:
        import dataclasses

        facts = redactor.clean_all(dataclasses.asdict(description))
        click.echo(json.dumps(facts | {"address": address, "verify": command}))
        return
    click.echo(f"{'address:':12}{address}")
    for name, fact in report(description):
        click.echo(f"{name:12}{redactor.clean(fact)}")
    click.echo(f"{'verify it:':12}{command}")


def _repeated() -> list[tuple[str, str | None]]:
    """The options of this command that `verify` needs as well, without what is secret in them."""
    context = click.get_current_context()
    repeated: list[tuple[str, str | None]] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source != click.core.ParameterSource.COMMANDLINE or name in ("url", "as_json"):
            continue
        value, option = context.params[name], parameter.opts[0]
        if name == "headers":
            shown = [v if v.startswith("@") else v.partition(":")[0] + ": ..." for v in value]
            repeated += [(option, header) for header in shown]
        else:
            repeated.append((option, None if value is True else str(value)))
    return repeated
