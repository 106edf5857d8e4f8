"""Serve exported models on this machine over TensorFlow Serving's REST API.

For demos, tests and notebooks. The real `tensorflow_model_server` is started where it is on PATH.
Otherwise an embedded server answers the same paths in the same form; it is for development: one
process, no reloading, no monitoring, no authentication.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tfmark.errors import InvalidArgumentError
from tfmark.serving import model_server
from tfmark.serving.exports import Exports, find_exports

SERVERS = ("auto", "embedded", "tensorflow_model_server")


@dataclass(frozen=True)
class Server:
    """A running model server.

    Attributes:
        host: address it listens on.
        port: port of its REST API.
        kind: "embedded" or "tensorflow_model_server".
        exports: the models it serves.
    """

    host: str
    port: int
    kind: str
    exports: Exports

    @property
    def urls(self) -> dict[str, str]:
        """Address of each model, by its name."""
        return {name: self.url(name) for name in self.exports}

    def url(self, name: str) -> str:
        """Address of a model, as `tfmark.verify` takes it.

        Args:
            name: name of the model, that of its folder.

        Returns:
            The address, such as "http://127.0.0.1:8501/v1/models/digits".
        """
        return f"http://{self.host}:{self.port}/v1/models/{name}"


@contextmanager
def serve(
    directory: str | os.PathLike[str],
    port: int = 0,
    host: str = "127.0.0.1",
    server: str = "auto",
) -> Iterator[Server]:
    """Serve what `model.export` wrote, until the `with` block ends.

    Example:
    ```python
    model.export("served/digits/1")
    with tfmark.serve("served") as server:
        verdict = tfmark.verify(server.url("digits"), key)
    ```

    Args:
        directory: a SavedModel, a model's folder with numbered versions in it, or a folder of such
            folders. Of each model the latest version is served.
        port: port of the REST API. Defaults to 0, any free one.
        host: address to listen on. Defaults to "127.0.0.1", this machine alone. TensorFlow Serving
            has no such setting: it listens on all addresses.
        server: "embedded", "tensorflow_model_server", or "auto": the latter where it is on PATH.
            Defaults to "auto".

    Yields:
        The running `Server`, with `url(name)`, the address of a model, and `urls`, those of all.

    Raises:
        InvalidArgumentError: if there is no SavedModel in the directory.
        ServingError: if the server cannot be started.
    """
    if server not in SERVERS:
        raise InvalidArgumentError(
            f"Invalid value for argument `server`. Expected one of {SERVERS}. "
            f"Received: server={server!r}"
        )
    exports = find_exports(directory)
    if server == "tensorflow_model_server" or (server == "auto" and model_server.find()):
        with model_server.run(exports, port) as chosen:
            yield Server("127.0.0.1", chosen, "tensorflow_model_server", exports)
        return
    try:
        from tfmark.serving import embedded
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The embedded server needs {error.name}: pip install 'tfmark[tensorflow]'",
            name=error.name,
        ) from None

    latest = {name: dict([max(versions.items())]) for name, versions in exports.items()}
    with embedded.run(latest, port, host) as chosen:
        yield Server(host, chosen, "embedded", exports)
