"""`tfmark demo` and `tfmark serve`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from tfmark.cli.common import SCHEMES, plain_errors, quiet_tensorflow


@click.command()
@click.option("--dataset", default="digits", show_default=True,
              help="digits, or an image classification set of TensorFlow Datasets.")  # fmt: skip
@click.option("--scheme", type=click.Choice(SCHEMES), default="noise", show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Defaults to some 1,000 training steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="tfmark-demo",
              show_default=True, help="Folder for the key, the models and a picture.")  # fmt: skip
@plain_errors
def demo(dataset: str, scheme: str, epochs: int | None, seed: int, out: Path) -> None:
    """Train, mark, steal, serve and verify a small model."""
    from tfmark.errors import DatasetError, TfmarkError

    quiet_tensorflow()
    try:
        from tfmark.demo import run

        run(dataset, scheme, epochs, seed, out)
    except DatasetError as error:
        raise DatasetError(f"{error} Offline, use --dataset digits.") from None
    except ModuleNotFoundError as error:
        raise TfmarkError(f"The demo needs {error.name}: pip install 'tfmark[demo]'") from None


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--server", type=click.Choice(("auto", "embedded", "tensorflow_model_server")),
              default="auto", show_default=True)  # fmt: skip
@plain_errors
def serve(directory: Path, port: int, host: str, server: str) -> None:
    """Serve exported models over TensorFlow Serving's REST API.

    DIRECTORY is a SavedModel, a model's folder with numbered versions in it, or a folder of such
    folders. The real tensorflow_model_server is started where it is on PATH (it listens on all
    addresses); otherwise an embedded server, which is for development.
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
