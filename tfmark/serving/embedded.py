"""The embedded server: TensorFlow Serving's REST paths, on waitress."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import waitress
import waitress.wasyncore

from tfmark.errors import ServingError
from tfmark.serving.exports import Exports
from tfmark.serving.rest_api import RestApi
from tfmark.serving.saved_model import SavedModel

MAX_REQUEST = 256 << 20  # bytes


@contextmanager
def run(exports: Exports, port: int, host: str) -> Iterator[int]:
    """Serve all versions in `exports` from threads of this process.

    Yields:
        The port.

    Raises:
        ServingError: if a model cannot be loaded or the address cannot be had.
    """
    models = {
        name: {version: SavedModel(folder) for version, folder in versions.items()}
        for name, versions in exports.items()
    }
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except (OSError, ValueError, OverflowError) as error:
        raise ServingError(f"Cannot listen on {host}:{port}: {error}") from None
    sockets: dict[int, Any] = {}
    server = waitress.create_server(
        RestApi(models), map=sockets, sockets=[listener], threads=4, ident="tfmark",
        max_request_body_size=MAX_REQUEST,
    )  # fmt: skip
    ending = threading.Event()

    def loop() -> None:
        while not ending.is_set():
            waitress.wasyncore.loop(timeout=1, map=sockets, count=1)

    thread = threading.Thread(target=loop, name="tfmark-server", daemon=True)
    thread.start()
    try:
        yield int(server.effective_port)
    finally:
        ending.set()
        server.pull_trigger()
        thread.join()
        server.task_dispatcher.shutdown()
        waitress.wasyncore.close_all(sockets)
