"""A loopback server that misbehaves, down to the bytes on the socket, and ways to misbehave.

A behaviour is a function of one connection: it may read the request or not, send whatever bytes it
likes, wait, reset, or just return, which closes the connection.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import itertools
import json
import socket
import socketserver
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from tests.http_server import serving
from tfmark.endpoints.http import MAX_BODY

MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
END = b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One connection of the verifier."""

    def __init__(self, sock: socket.socket, server: HostileServer):
        self.sock = sock
        self.server = server

    @cached_property
    def request(self) -> Request:
        with self.sock.makefile("rb") as stream:
            method, path, _ = stream.readline().decode().split(" ", 2)
            headers = http.client.parse_headers(stream)
            body = stream.read(int(headers.get("Content-Length", 0)))
        return Request(method, path, headers, body)

    @cached_property
    def questions(self) -> list[tuple[int, int]]:
        """Which question of the whole verification each asked image is, and its secret label."""
        instances = json.loads(self.request.body)["instances"]
        pixels = [np.rint(instance).astype(np.uint8).tobytes() for instance in instances]
        first = self.server.asked
        self.server.asked += len(pixels)
        return [(first + i, self.server.labels[image]) for i, image in enumerate(pixels)]

    def read(self) -> None:
        """Read the request: a socket that is closed before that resets the connection."""
        assert self.request

    def send(self, *pieces: bytes, pause: float = 0) -> None:
        for piece in pieces:
            self.sock.sendall(piece)
            self.wait(pause)

    def answer(self, body: bytes | str, status: object = 200, *lines: str) -> None:
        """Read the request and send a well-formed answer."""
        self.read()
        body = body.encode() if isinstance(body, str) else body
        head = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *lines]
        head.append("Connection: close\r\n\r\n")
        self.send("\r\n".join(head).encode("latin-1") + body)

    def wait(self, seconds: float | None = None) -> None:
        """Wait; without end if no time is given. Stops when the test is over."""
        if self.server.ending.wait(seconds):
            raise ConnectionAbortedError

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Connection], None]


class _Handler(socketserver.BaseRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        self.server.connections += 1
        self.server.behaviour(Connection(self.request, self.server))


class HostileServer(socketserver.ThreadingTCPServer):
    """Behaves as it is told.

    Args:
        behaviour: what it does with each connection.
        labels: the secret label of each trigger, by its pixels.
        elsewhere: address of another server, for redirects.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, behaviour: Behaviour, labels: Mapping[bytes, int] | None = None, elsewhere: str = ""
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.labels = labels or {}
        self.elsewhere = elsewhere
        self.asked = self.connections = 0
        self.hung_up: list[bool] = []
        self.crashes: list[str] = []
        self.ending = threading.Event()
        self.host = f"http://localhost:{self.server_address[1]}"
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/models/m"

    def handle_error(self, *_: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # the verifier may leave at any time
            self.crashes.append(traceback.format_exc())


@contextmanager
def hostile_server(behaviour: Behaviour, **options: Any) -> Iterator[HostileServer]:
    with serving(HostileServer(behaviour, **options)) as server:
        yield server
    assert not server.crashes, server.crashes[0]


# --- answers of a model -------------------------------------------------------------------------

Questions = list[tuple[int, int]]


def one_hot(ids: Iterable[int], count: int = 10) -> list[list[float]]:
    """Scores of as many classes; none is highest for an id that is no class."""
    return [[float(i == j) for j in range(count)] for i in ids]


def model(
    predict: Callable[[Questions], Any], write: Callable[[Any], str | bytes] = json.dumps
) -> Behaviour:
    """Answers questions; says nothing about itself."""

    def behave(connection: Connection) -> None:
        if connection.request.method == "GET":
            connection.answer('{"error": "Not found"}', 404)
        else:
            connection.answer(write({"predictions": predict(connection.questions)}))

    return behave


def labels(questions: Questions) -> list[int]:
    return [label for _, label in questions]


def scored(change: Callable[[int, int], int]) -> Behaviour:
    """Answers scores; `change` makes the class of the number of a question and its label."""
    return model(lambda questions: one_hot(change(i, label) for i, label in questions))


def each(change: Callable[[int], Any]) -> Behaviour:
    """Answers each question with what `change` makes of its label."""
    return model(lambda questions: [change(label) for label in labels(questions)])


def moved(change: Callable[[list[int]], list[int]]) -> Behaviour:
    """The right answers of a batch, moved, doubled or dropped by `change`."""
    return model(lambda questions: one_hot(change(labels(questions))))


def rewritten(write: Callable[[str], bytes | str]) -> Behaviour:
    """The right scores, in an unusual way to write JSON."""
    return model(lambda questions: one_hot(labels(questions)), lambda a: write(json.dumps(a)))


right = scored(lambda _, label: label)


def right_for(count: int, then: Behaviour, before: Behaviour | None = None) -> Behaviour:
    """Behaves well (or as `before`) until so many questions were asked, then otherwise."""

    def behave(connection: Connection) -> None:
        (then if connection.server.asked >= count else before or right)(connection)

    return behave


# --- bodies -------------------------------------------------------------------------------------


def body(text: bytes | str, *lines: str) -> Behaviour:
    """Answers everything with this body, and these lines in the head."""
    return status(200, text, *lines)


def lazy_body(make: Callable[[], bytes], *lines: str) -> Behaviour:
    """The same for a body that takes a while to make."""
    made = cache(make)
    return lambda connection: connection.answer(made(), 200, *lines)


def predictions_full_of(item: str) -> Behaviour:
    """As many small things as the verifier reads at all."""

    def make() -> bytes:
        items = [item] * ((MAX_BODY - 100) // (len(item) + 1))
        return f'{{"predictions":[{",".join(items)}]}}'.encode()

    return lazy_body(make)


@cache
def zipped_zeros(layers: int, members: int = 1) -> bytes:
    """64 MiB of zeros, so many times after one another, compressed in so many layers."""
    if members > 1:
        return zipped_zeros(layers) * members
    return gzip.compress(zipped_zeros(layers - 1) if layers > 1 else bytes(64 * MIB))


# --- bytes on the wire --------------------------------------------------------------------------


def raw(*pieces: bytes, pause: float = 0) -> Behaviour:
    """Reads the request, sends these bytes, closes."""

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(*pieces, pause=pause)

    return behave


def endless(head: bytes, piece: bytes, pause: float = 0) -> Behaviour:
    """Never stops sending."""

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(head)
        for _ in itertools.repeat(None):
            connection.send(piece, pause=pause)

    return behave


def drip(text: bytes) -> Behaviour:
    """A byte now and then."""
    return raw(*(bytes([byte]) for byte in text), pause=0.05)


def then_silence(*pieces: bytes) -> Behaviour:
    """Sends these bytes and nothing more, with the connection open."""

    def behave(connection: Connection) -> None:
        raw(*pieces)(connection)
        connection.wait()

    return behave


def then_reset(*pieces: bytes) -> Behaviour:
    """Sends these bytes and resets the connection."""

    def behave(connection: Connection) -> None:
        raw(*pieces)(connection)
        connection.reset()

    return behave


def then_listens(*pieces: bytes) -> Behaviour:
    """Sends these bytes and notes in `hung_up` whether the verifier hangs up in five seconds."""

    def behave(connection: Connection) -> None:
        connection.sock.settimeout(5)
        try:
            raw(*pieces)(connection)
            connection.server.hung_up.append(connection.sock.recv(1) == b"")
        except OSError as error:
            connection.server.hung_up.append(not isinstance(error, TimeoutError))

    return behave


def never_reads(connection: Connection) -> None:
    connection.wait()


def closes_at_once(_: Connection) -> None:
    pass


def resets_at_once(connection: Connection) -> None:
    connection.reset()


def framed(*lines: bytes, cut: int | None = None) -> Behaviour:
    """The right answer under other lines than an honest Content-Length; `cut` off there."""

    def behave(connection: Connection) -> None:
        if connection.request.method == "GET":
            connection.answer("", 404)
            return
        text = json.dumps({"predictions": labels(connection.questions)}).encode()
        named = [line.replace(b"LENGTH", b"%d" % len(text)) for line in lines]
        connection.send(OK, *named, b"Connection: close\r\n", END, text[:cut])

    return behave


def chunked(*sizes: bytes) -> Behaviour:
    """A body of five bytes with these lines for its chunks' sizes."""
    return raw(OK, CHUNKED, END, *(size + b"\r\n[1,2]\r\n" for size in sizes), b"0\r\n\r\n")


# --- statuses -----------------------------------------------------------------------------------


def status(code: object, text: bytes | str = "", *lines: str) -> Behaviour:
    """Answers everything with this status."""
    return lambda connection: connection.answer(text, code, *lines)


def redirect(code: int, location: str) -> Behaviour:
    """Sends the verifier away: to ELSEWHERE, or to ITSELF."""

    def behave(connection: Connection) -> None:
        server = connection.server
        named = location.replace("ELSEWHERE", server.elsewhere).replace("ITSELF", server.host)
        connection.answer("", code, f"Location: {named}{connection.request.path}")

    return behave


# --- echoes -------------------------------------------------------------------------------------


def credentials(connection: Connection) -> str:
    """What the verifier sent in confidence."""
    return " and ".join(
        f"{name}: {value}"
        for name, value in connection.request.headers.items()
        if name in ("Authorization", "X-Api-Key")
    )


def password(connection: Connection) -> str:
    """The name and password in a header of Basic authorization."""
    words = connection.request.headers["Proxy-Authorization"].split()
    return base64.b64decode(words[-1]).decode()


def echo(write: Callable[[Connection], Any], code: int = 400, *lines: str) -> Behaviour:
    """An error that repeats something of the request, as text or as JSON."""

    def behave(connection: Connection) -> None:
        text = write(connection)
        named = [line.replace("ECHO", credentials(connection)) for line in lines]
        connection.answer(text if isinstance(text, str) else json.dumps(text), code, *named)

    return behave


# --- what a model says about itself -------------------------------------------------------------


def signature(
    shape: Any = (-1, 8, 8, 1), dtype: Any = "DT_FLOAT", inputs: Iterable[str] = ("image",),
    names: Iterable[str] = ("serving_default",),
) -> Any:  # fmt: skip
    """Metadata of TensorFlow Serving."""
    dims = [{"size": side if isinstance(side, float) else str(side)} for side in shape]
    tensor = {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}}
    of_one = {"inputs": dict.fromkeys(inputs, tensor)}
    return {"metadata": {"signature_def": {"signature_def": dict.fromkeys(names, of_one)}}}


AVAILABLE = {"model_version_status": [{"version": "1\x1b]0;owned\x07", "state": "AVAILABLE"}]}


def described(metadata: Any, then: Behaviour = right) -> Behaviour:
    """Gives this metadata (JSON or text) about itself, and answers the questions `then`."""

    def behave(connection: Connection) -> None:
        if connection.request.method == "POST":
            then(connection)
            return
        said = metadata if connection.request.path.endswith("/metadata") else AVAILABLE
        connection.answer(said if isinstance(said, str) else json.dumps(said))

    return behave
