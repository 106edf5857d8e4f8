"""`tfmark verify-weights`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tfmark.cli.asking import EXIT_CODES
from tfmark.cli.common import FILE, KEY, plain_errors
from tfmark.cli.passphrases import load_key, passphrase_option


@click.command()
@KEY
@click.argument("model", type=FILE)
@click.option("--alpha", type=float, default=1e-9, show_default=True,
              help="Highest tolerable probability of accusing an innocent model.")  # fmt: skip
@click.option("--layer", metavar="NAME", help="Layer with the mark.  [default: all are tried]")
@click.option("--bits", type=int, default=256, show_default=True, help="Bits that were written.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@passphrase_option
@plain_errors
def verify_weights(
    key: Path, model: Path, alpha: float, layer: str | None, bits: int, as_json: bool,
    passphrase_file: str | None,
) -> None:  # fmt: skip
    """Read KEY's mark out of the weights of a model file.

    MODEL is a .keras or .h5 file, of which nothing is run. Exit code: 0 owned, 1 not shown, 2 bad
    input.
    """
    from tfmark.weight_verification import verify_weights as read

    verdict = read(model, load_key(key, passphrase_file), alpha, layer, bits)
    if as_json:
        click.echo(json.dumps(verdict.to_dict()))
    else:
        click.echo(f"{verdict.status}: p-value {verdict.p_value:.2g}, {verdict.bit_errors} wrong "
                   f"of {verdict.bits} bits in layer {verdict.layer}")  # fmt: skip
        click.echo(verdict.sentence)
    sys.exit(EXIT_CODES[verdict.status])
