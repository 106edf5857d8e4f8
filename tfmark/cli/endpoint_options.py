"""Options that say how a suspect is reached and how it wants to be asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tfmark.cli.common import FILE, pair

PASSWORD = "TFMARK_PASSWORD"
Command = Callable[..., None]

_DIALECT = (
    click.option("--protocol", metavar="NAME",
                 help="tf-serving, kserve-v1, open-inference, mlflow, grpc or local.  "
                      "[default: told from the address and by asking]"),
    click.option("--signature", help="Signature to ask.  [default: the server's]"),
    click.option("--version", type=click.IntRange(0),
                 help="Version to ask.  [default: the latest]"),
    click.option("--version-label", help="Label of the version to ask, instead of its number."),
    click.option("--input", "input", help="Name of the input.  [default: the only one]"),
    click.option("--output", help="Output to read, if there are several."),
    click.option("--pixels", type=click.Choice(("float", "integer", "png", "jpeg")),
                 help="How images are sent.  [default: as the server says, else float]"),
    click.option("--value-range", metavar="LOW,HIGH",
                 help="Scale of the pixels, if it is not that of the key."),
    click.option("--mirrored", is_flag=True,
                 help="Send images mirrored, to a suspect that mirrors them."),
    click.option("--columns", is_flag=True, help="Send TensorFlow Serving's columnar format."),
    click.option("--batch-size", type=click.IntRange(1, 1 << 16), metavar="N",
                 help="Images in each request."),
    click.option("--labels", type=FILE,
                 help="Text file with the name of each class, one a line, in the key's order."),
)  # fmt: skip

_WAY = (
    click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'",
                 help="Sent with each request; @FILE takes headers from the lines of a file, where "
                      "they stand in no list of processes. May be given several times."),
    click.option("--user", metavar="NAME",
                 help=f"Basic authentication, with the password in {PASSWORD} or else asked for."),
    click.option("--cacert", type=FILE, help="Certificates (PEM) to trust, not the system's."),
    click.option("--cert", type=FILE, help="Client certificate (PEM), for mutual TLS."),
    click.option("--cert-key", type=FILE, help="Its key, if that is in a file of its own."),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30.0,
                 show_default=True, help="Seconds for each try of a request."),
    click.option("--retries", type=click.IntRange(0, 100), default=3, show_default=True),
)  # fmt: skip

_PATIENCE = (
    click.option("--delay", type=click.FloatRange(0), default=0.0, show_default=True,
                 help="Least number of seconds between two requests."),
    click.option("--max-time", type=click.FloatRange(0, min_open=True), default=3600.0,
                 show_default=True, help="Seconds after which nothing more is asked."),
)  # fmt: skip


def endpoint_options(command: Command) -> Command:
    """Give a command the options, as `collect` takes them."""
    return _with(_DIALECT + _WAY + _PATIENCE, command)


def way_options(command: Command) -> Command:
    """Give a command those that say how a server is reached, as `collect_way` takes them."""
    return _with(_WAY, command)


def collect(given: dict[str, Any]) -> dict[str, Any]:
    """The keywords of `tfmark.endpoint_from` for options of the command line."""
    options = collect_way(given)
    scale, labels = options.pop("value_range"), options.pop("labels")
    return {
        **options,
        "value_range": None if scale is None else pair(scale),
        "class_names": None if labels is None else _lines(labels, "--labels"),
    }


def collect_way(given: dict[str, Any]) -> dict[str, Any]:
    """The keywords of `Connection` for options of the command line."""
    options = dict(given)
    user = options.pop("user")
    headers = dict(header for text in options.pop("headers") for header in _headers(text))
    files = {
        "ca_file": options.pop("cacert"),
        "cert_file": options.pop("cert"),
        "key_file": options.pop("cert_key"),
    }
    return {
        **options,
        **files,
        "headers": headers,
        "auth": None if user is None else (user, _password(user)),
    }


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def _headers(text: str) -> list[tuple[str, str]]:
    lines = _lines(Path(text[1:]), "--header") if text.startswith("@") else [text]
    headers = []
    for line in filter(str.strip, lines):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("--header takes 'Name: value'.")  # the value may be secret
        headers.append((name.strip(), value.strip()))
    return headers


def _lines(path: Path, option: str) -> list[str]:
    try:
        return path.read_text("utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise click.UsageError(f"{option}: cannot read {path}: {type(error).__name__}") from None


def _password(user: str) -> str:
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        raise click.UsageError(f"--user needs a password in {PASSWORD} where there is no terminal.")
    password: str = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return password
