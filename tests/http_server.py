"""A loopback HTTP server that answers as a test wants, and keeps what it was asked."""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np

from tfmark.pixels import to_pixels


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    client: tuple[str, int]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(NamedTuple):
    body: bytes | str = b""
    status: int = 200
    headers: Mapping[str, str] = {}


RESET = b"RESET"  # among the bytes of an answer: the connection is reset

# A whole answer, the raw bytes of one (the connection ends with them), or `None` for no answer.
Answer = Callable[[Request], Reply | Iterable[bytes] | None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer, context: ssl.SSLContext | None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[Request] = []
        self.ending = threading.Event()
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server_port}"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def posts(self) -> list[Any]:
        return [request.json for request in self.requests if request.method == "POST"]

    def handle_error(self, *_: Any) -> None:
        pass  # clients are meant to go away in the middle


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers, body, self.client_address)
        self.server.requests.append(request)
        answer = self.server.answer(request)
        if answer is None:
            self.server.ending.wait()
        elif isinstance(answer, Reply):
            text = answer.body.encode() if isinstance(answer.body, str) else answer.body
            head = {"Content-Length": str(len(text)), **answer.headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            status = f"HTTP/1.1 {answer.status} Whatever\r\n"
            self.wfile.write(f"{status}{lines}\r\n".encode("latin-1") + text)
            return
        else:
            for piece in answer:
                if piece is RESET:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    os.close(self.connection.detach())
                    break
                self.wfile.write(piece)
        self.close_connection = True

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """Run a `socketserver` with an event `ending` until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


@contextmanager
def http_server(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with serving(Server(answer, context)) as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def model(respond: Callable[[Any], Any], metadata: Any = None) -> Answer:
    """A model on TensorFlow Serving: `respond` makes predictions of instances."""

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return Reply(json.dumps({"predictions": respond(request.json["instances"])}))
        if metadata is None:
            return Reply(json.dumps({"error": "Not found"}), 404)
        return metadata if isinstance(metadata, Reply) else Reply(json.dumps(metadata))

    return answer


def watermarked(key: Any) -> Answer:
    """A model that answers each trigger of `key` with its label, as scores."""
    triggers = key.triggers()
    labels = {
        pixels.tobytes(): label
        for pixels, label in zip(triggers.pixels, triggers.labels, strict=True)
    }

    def respond(instances: Any) -> Any:
        pixels = to_pixels(np.array(instances, np.float32), key.value_range)
        return np.eye(key.spec.num_classes)[[labels[p.tobytes()] for p in pixels]].tolist()

    return model(respond)
