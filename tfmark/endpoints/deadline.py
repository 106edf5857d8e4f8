"""Connections that keep one deadline for a whole answer.

The time-outs of sockets start anew with each byte that arrives: a server that sends a byte a second
could hold a client for days. Here each read of an answer, its head included, may take only what is
left of the time for the whole answer.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import time
from typing import Any, NamedTuple

import urllib3

from tfmark.endpoints.connection import Proxy

# urllib3 logs the query of an address, in which there may be a key: of each request, and of the
# whole address when it dislikes an answer's headers.
logging.getLogger("urllib3.connectionpool").addFilter(
    lambda record: "%s %s %s" not in str(record.msg)
)
logging.getLogger("urllib3.connection").addFilter(
    lambda record: not str(record.msg).startswith("Failed to parse headers")
)


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float):
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until it is closed
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Socket(NamedTuple):
    """What `http.client` needs of a socket to read an answer from."""

    sock: socket.socket
    deadline: float

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self.sock, self.deadline))


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **options: Any):
        super().__init__(_Socket(sock, deadline), *args, **options)  # type: ignore[arg-type]


class _Deadline:
    """Mixed into urllib3's connections: each request starts the clock."""

    timeout: Any
    response_class: Any

    def request(self, *args: Any, **options: Any) -> None:
        deadline = time.monotonic() + self.timeout

        def response(*args: Any, **options: Any) -> _Response:
            self._response = _Response(*args, deadline=deadline, **options)
            return self._response

        self.response_class = response
        super().request(*args, **options)  # type: ignore[misc]

    def getresponse(self) -> Any:
        try:
            return super().getresponse()  # type: ignore[misc]
        except urllib3.exceptions.HTTPError:
            self._response.close()  # urllib3 forgets it, with the socket that it holds
            raise


class _HTTPConnection(_Deadline, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Deadline, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class DeadlineTransport:
    """Keeps one connection to one host, and the deadline of each answer.

    Args:
        url: an address on the host.
        tls: what is trusted, for https.
        proxy: the proxy on the way, if any.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None, proxy: Proxy | None):
        options: dict[str, Any] = {"num_pools": 1, "maxsize": 1, "ssl_context": tls}
        if proxy is None:
            self._manager = urllib3.PoolManager(**options)
        else:
            headers = urllib3.make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else None
            self._manager = urllib3.ProxyManager(proxy.url, proxy_headers=headers, **options)
        self._manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        # Without a proxy the pool of the host can be asked directly, which takes less time.
        self._pool = self._manager.connection_from_url(url) if proxy is None else None
        self._origin = "/".join(url.split("/", 3)[:3]) + "/"

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send one request and return its answer with the body unread."""
        if self._pool is None or not url.startswith(self._origin):
            return self._manager.request(method, url, **options)
        return self._pool.urlopen(method, url[len(self._origin) - 1 :], **options)
