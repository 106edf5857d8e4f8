"""Where a passphrase comes from: a file, the environment, or the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tfmark.key import WatermarkKey

VARIABLE = "TFMARK_PASSPHRASE"
NEW_VARIABLE = "TFMARK_NEW_PASSPHRASE"
_LONGEST_LINE = 1 << 13  # bytes


def file_option(name: str, what: str, default: str) -> Callable[[Any], Any]:
    """An option that takes a file with a passphrase in its first line."""
    return click.option(
        name, type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="FILE",
        help=f"{what} the first line of FILE; - reads standard input.  [default: {default}]",
    )  # fmt: skip


passphrase_option = file_option(
    "--passphrase-file", "The passphrase of KEY is", f"{VARIABLE}, or it is asked for"
)


def load_key(path: Path, file: str | None) -> WatermarkKey:
    """Load a key; get its passphrase only if it has one."""
    from tfmark.errors import PassphraseError
    from tfmark.key import WatermarkKey

    try:
        return WatermarkKey.load(path)
    except PassphraseError:
        pass
    found = given(file, VARIABLE)
    if found is None:
        found = _ask(f"Passphrase of {path}", f"{path} is locked", "--passphrase-file", VARIABLE)
    return WatermarkKey.load(path, found)


def given(file: str | None, variable: str) -> str | None:
    """The passphrase in a file or else in a variable, `None` where neither is given."""
    if file is not None:
        return _first_line(file)
    if os.environ.get(variable) == "":
        raise click.UsageError(f"{variable} is empty.")
    return os.environ.get(variable)


def ask_new(path: Path, option: str, variable: str) -> str:
    """Ask for a new passphrase, twice."""
    return _ask(
        f"New passphrase of {path}", "A new passphrase is needed", option, variable,
        confirmation_prompt="Once more",
    )  # fmt: skip


def _ask(prompt: str, why: str, option: str, variable: str, **options: Any) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{why}, and there is no terminal to ask for it: set {variable}, or use {option}."
        )
    answer: str = click.prompt(prompt, hide_input=True, err=True, **options)
    return answer


def _first_line(file: str) -> str:
    name = "standard input" if file == "-" else file
    with click.open_file(file, "rb") as stream:
        line: bytes = stream.readline(_LONGEST_LINE).rstrip(b"\r\n")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise click.UsageError(f"The first line of {name} is no passphrase in UTF-8.")
    return text
