"""What the commands share: arguments, how numbers are read, how errors end a command."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

USAGE = 2
INTERRUPTED = 130  # as shells have it for Ctrl-C
SOFTWARE = 70  # as in sysexits.h: an error of ours
SCHEMES = ("content", "unrelated", "noise")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
KEY = click.argument("key", type=FILE)


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that are somebody's to mend into one line and exit code 2."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        from tfmark.errors import TfmarkError

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a server's words may be anything
        try:
            command(*args, **options)
        except (TfmarkError, OSError, ModuleNotFoundError) as error:
            click.echo(f"tfmark: {error}", err=True)
            sys.exit(USAGE)
        except (KeyboardInterrupt, click.Abort):
            click.echo("tfmark: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception:
            # Python's own exit code would be 1, which says "not shown".
            traceback.print_exc()
            sys.exit(SOFTWARE)

    return run


def numbers(text: str, option: str) -> list[float]:
    """Numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(f"{option} takes numbers and commas, not {text!r}.") from None


def pair(text: str) -> tuple[float, float]:
    """The lower and upper end of a scale of pixels."""
    from tfmark.pixels import check_value_range

    return check_value_range(numbers(text, "--value-range"))


def quiet_tensorflow() -> None:
    """Keep TensorFlow's native code from writing which processor and GPU it found.

    Some of it is written before any of TensorFlow's own settings is read. What Python writes to
    stderr still arrives.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
