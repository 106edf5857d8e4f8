"""The `tfmark` command. Each command imports what it needs when it runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

EXIT_CODES = {"owned": 0, "not shown": 1, "inconclusive": 3}
USAGE = 2
SCHEMES = ("content", "unrelated", "noise")


def _plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that are somebody's to mend into one line and exit code 2."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        from tfmark.errors import TfmarkError

        try:
            command(*args, **options)
        except (TfmarkError, OSError, ModuleNotFoundError) as error:
            click.echo(f"tfmark: {error}", err=True)
            sys.exit(USAGE)

    return run


@click.group()
@click.version_option(package_name="tfmark")
def main() -> None:
    """Prove that a Keras model is yours when somebody else serves it."""


@main.command()
@click.option("--dataset", default="digits", show_default=True,
              help="digits, or an image classification set of TensorFlow Datasets.")  # fmt: skip
@click.option("--scheme", type=click.Choice(SCHEMES), default="noise", show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Defaults to some 1,000 training steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="tfmark-demo",
              show_default=True, help="Folder for the key, the models and a picture.")  # fmt: skip
@_plain_errors
def demo(dataset: str, scheme: str, epochs: int | None, seed: int, out: Path) -> None:
    """Train, mark, steal, serve and verify a small model on this machine."""
    from tfmark.errors import DatasetError, TfmarkError

    _quiet_tensorflow()
    try:
        from tfmark.demo import run

        run(dataset, scheme, epochs, seed, out)
    except DatasetError as error:
        raise DatasetError(f"{error} Offline, use --dataset digits.") from None
    except ModuleNotFoundError as error:
        raise TfmarkError(f"The demo needs {error.name}: pip install 'tfmark[demo]'") from None


@main.command()
@click.argument("key", type=click.Path(path_type=Path))
@click.option("--scheme", type=click.Choice(SCHEMES), required=True)
@click.option("--shape", required=True, metavar="H,W[,C]", help="Shape of one image.")
@click.option("--classes", type=int, required=True, help="Number of classes.")
@click.option("--base-images", metavar="SOURCE",
              help="FILE.npz, FILE.npy, a folder of images, or a TFDS name.")  # fmt: skip
@click.option("--text", help="What the content scheme writes.")
@click.option("--marks", type=int, help="Number of marks.  [default: 48 for ten classes]")
@click.option("--value-range", metavar="LOW,HIGH",
              help="Scale of the pixels in training, as in 0,1.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the key file if there is one.")
@_plain_errors
def keygen(
    key: Path, scheme: str, shape: str, classes: int, base_images: str | None, text: str | None,
    marks: int | None, value_range: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Make a new key and write it to the file KEY."""
    from tfmark.base_files import load_images
    from tfmark.errors import KeyFileExistsError
    from tfmark.key import WatermarkKey

    if key.exists() and not overwrite:
        raise KeyFileExistsError(f"{key} exists already; --overwrite replaces it.")
    sides = _numbers(shape, "--shape")
    if not all(side.is_integer() for side in sides):
        raise click.UsageError(f"--shape takes whole numbers, not {shape!r}.")
    image_shape = tuple(map(int, sides))
    new = WatermarkKey.generate(
        scheme=scheme,
        image_shape=image_shape,
        num_classes=classes,
        base_images=None if base_images is None else load_images(base_images, image_shape),
        num_marks=marks,
        value_range=None if value_range is None else _pair(value_range),
        text=text,
    )
    new.save(key, overwrite)
    click.echo(f"wrote {key}: keep it secret, and keep a copy")
    click.echo(f"commitment {new.commitment}: publish it before the model leaves the house")


@main.command()
@click.argument("key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Draw base images, marks and triggers (secret) into this folder.")  # fmt: skip
@_plain_errors
def inspect(key: Path, pictures: Path | None) -> None:
    """Show the public facts about a key."""
    from tfmark.key import WatermarkKey

    loaded = WatermarkKey.load(key)
    spec = loaded.spec
    facts = {
        "commitment": loaded.commitment,
        "scheme": spec.scheme,
        "image shape": "x".join(map(str, spec.image_shape)),
        "value range": "{:g} to {:g}".format(*loaded.value_range),
        "classes": spec.num_classes,
        "marks": spec.num_marks,
        "base images": f"{spec.base_groups * spec.base_per_group}, of which "
                       f"{spec.base_groups * spec.num_verification} for verification",
        "base images' root": spec.base_root,
    }  # fmt: skip
    for name, fact in facts.items():
        click.echo(f"{name + ':':19}{fact}")
    if pictures is not None:
        from tfmark.pictures import draw_marks

        pictures.mkdir(parents=True, exist_ok=True)
        draw_marks(loaded, pictures / "marks.png", spec.num_marks)
        click.echo(f"drew {pictures / 'marks.png'}: it shows secrets, keep it with the key")


@main.command()
@click.argument("key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("url")
@click.option("--alpha", type=float, default=1e-9, show_default=True,
              help="Highest tolerable probability of accusing an innocent model.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'",
              help="Sent with each request. May be given several times.")  # fmt: skip
@click.option("--signature", help="Signature to ask.  [default: the server's]")
@click.option("--output", help="Output to read, if there are several.")
@click.option("--version", type=click.IntRange(0), help="Version to ask.  [default: the latest]")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
              help="Seconds for each try of a request.")  # fmt: skip
@_plain_errors
def verify(
    key: Path, url: str, alpha: float, as_json: bool, headers: tuple[str, ...],
    signature: str | None, output: str | None, version: int | None, timeout: float,
) -> None:  # fmt: skip
    """Ask the model at URL whether it carries the watermark of KEY.

    URL is the address of a model on TensorFlow Serving's REST API, such as
    http://localhost:8501/v1/models/digits. Exit code: 0 owned, 1 not shown, 2 bad input,
    3 inconclusive.
    """
    from tfmark.key import WatermarkKey
    from tfmark.verification import verify as ask

    verdict = ask(
        url, WatermarkKey.load(key), alpha, signature=signature, output=output, version=version,
        headers=dict(map(_header, headers)), timeout=timeout,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(verdict.to_dict()))
    else:
        click.echo(f"{verdict.status}: p-value {verdict.p_value:.2g}, {verdict.matches} matches "
                   f"in {verdict.queries} questions")  # fmt: skip
        click.echo(verdict.sentence)
    sys.exit(EXIT_CODES[verdict.status])


@main.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--server", type=click.Choice(("auto", "embedded", "tensorflow_model_server")),
              default="auto", show_default=True)  # fmt: skip
@_plain_errors
def serve(directory: Path, port: int, host: str, server: str) -> None:
    """Serve the exported models in DIRECTORY over TensorFlow Serving's REST API.

    The real tensorflow_model_server is started where it is on PATH (it listens on all addresses);
    otherwise an embedded server, which is for development.
    """
    import signal
    import threading

    from tfmark.serving import serve as start

    # Either signal unwinds the `with` below, so that no server is left behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        start(directory, port, host, server) as running,
    ):
        for url in running.urls.values():
            click.echo(f"{running.kind}: {url}")
        threading.Event().wait()


def _quiet_tensorflow() -> None:
    """Keep TensorFlow's native code from writing which processor and GPU it found.

    Some of it is written before any of TensorFlow's own settings is read. What Python writes to
    stderr still arrives.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(f"{option} takes numbers and commas, not {text!r}.") from None


def _pair(text: str) -> tuple[float, float]:
    from tfmark.pixels import check_value_range

    return check_value_range(_numbers(text, "--value-range"))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError("--header takes 'Name: value'.")  # what it received may be secret
    return name.strip(), value.strip()
