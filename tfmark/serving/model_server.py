"""Runs the real TensorFlow Serving, `tensorflow_model_server`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfmark.endpoints.connection import Connection
from tfmark.endpoints.http import HttpClient
from tfmark.errors import EndpointError, ServingError
from tfmark.serving.exports import Exports

NAME = "tensorflow_model_server"
START = 60.0  # seconds until all models must be loaded


def find() -> str | None:
    """Where the server is installed, `None` if it is not on PATH."""
    return shutil.which(NAME)


@contextmanager
def run(exports: Exports, port: int) -> Iterator[int]:
    """Run the server until the block ends.

    Yields:
        The port of its REST API.

    Raises:
        ServingError: if it is not installed, or does not serve all models in time.
    """
    binary = find()
    if binary is None:
        raise ServingError(f"{NAME} is not on PATH.")
    port = port or _free_port()
    with tempfile.TemporaryDirectory() as scratch:
        config, log = Path(scratch, "models.config"), Path(scratch, "log")
        config.write_text(_config(exports, Path(scratch)))
        flags = [f"--rest_api_port={port}", "--port=0", f"--model_config_file={config}"]
        with log.open("wb") as output:
            process = subprocess.Popen([binary, *flags], stdout=output, stderr=output)
        try:
            _wait(process, exports, port, log)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _config(exports: Exports, scratch: Path) -> str:
    """The server's list of models. It wants numbered versions below a folder of each model."""
    entries = []
    for i, (name, versions) in enumerate(exports.items()):
        base = scratch / str(i)
        base.mkdir()
        for version, folder in versions.items():
            (base / str(version)).symlink_to(folder)
        entries.append(
            f'config {{ name: {json.dumps(name)} base_path: "{base}" '
            'model_platform: "tensorflow" }'
        )
    return f"model_config_list {{ {' '.join(entries)} }}"


def _wait(process: subprocess.Popen[bytes], exports: Exports, port: int, log: Path) -> None:
    client = HttpClient(Connection(timeout=2.0))
    deadline = time.monotonic() + START
    waiting = list(exports)
    while waiting:
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise ServingError(f"{NAME} does not serve {waiting}: {' '.join(last)}")
        try:
            status = json.loads(
                client.get(f"http://127.0.0.1:{port}/v1/models/{waiting[0]}", retries=0)
            )
            states = [version["state"] for version in status["model_version_status"]]
        except (EndpointError, ValueError, LookupError, TypeError):
            states = []
        if "AVAILABLE" in states:
            waiting.pop(0)
        else:
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
