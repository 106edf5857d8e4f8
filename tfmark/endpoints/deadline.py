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
from typing import Any

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


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **options: Any):
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))


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


def pool_manager(tls: ssl.SSLContext | None, proxy: Proxy | None) -> urllib3.PoolManager:
    """A `urllib3.PoolManager` that keeps one connection, and the deadline of each answer."""
    options: dict[str, Any] = {"num_pools": 1, "maxsize": 1, "ssl_context": tls}
    manager: urllib3.PoolManager
    if proxy is None:
        manager = urllib3.PoolManager(**options)
    else:
        headers = urllib3.make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else None
        manager = urllib3.ProxyManager(proxy.url, proxy_headers=headers, **options)
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return manager
