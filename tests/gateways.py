"""What may stand between a client and a model server: nginx, and a forward proxy."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.http_server import free_port

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# One process, which ends with its handle. Paths are relative to the configuration's folder.
CONFIG = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log info;
events {{ }}
http {{
    log_format facts '$status $connection $request_method $request_uri '
                     '$sent_http_transfer_encoding $sent_http_content_encoding';
    access_log access.log facts;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    limit_req_zone $server_port zone=five_a_second:32k rate=5r/s;
    limit_req_zone $server_port zone=one_a_minute:32k rate=1r/m;
    {servers}
}}
"""


class Line(NamedTuple):
    """What nginx tells of a request in its log."""

    status: str
    connection: str
    method: str
    target: str
    transfer_encoding: str
    content_encoding: str


@dataclass(frozen=True)
class Nginx:
    folder: Path
    port: int

    def log(self, at_least: int) -> list[Line]:
        """The requests, once there are so many: nginx writes each a little after its answer."""
        end = time.monotonic() + 10
        while True:
            lines = self.folder.joinpath("access.log").read_text().splitlines(keepends=True)
            whole = [Line(*line.split()) for line in lines if line.endswith("\n")]
            if len(whole) >= at_least or time.monotonic() > end:
                return whole
            time.sleep(0.01)


@contextmanager
def nginx(folder: Path, *servers: str) -> Iterator[Nginx]:
    """Run nginx in a folder, with the insides of some `server` blocks, all on the same port."""
    assert NGINX is not None
    port = free_port()
    blocks = [
        f"server {{ listen 127.0.0.1:{port}{' ssl' * ('ssl_' in server)}; {server} }}"
        for server in servers
    ]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(servers="\n".join(blocks)))
    command = [NGINX, "-p", folder, "-c", config, "-e", folder / "error.log"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not _listens(port):
                log = folder.joinpath("error.log")
                assert process.poll() is None, log.read_text() if log.exists() else "no log"
                time.sleep(0.005)
            yield Nginx(folder, port)
        finally:
            process.terminate()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class ForwardProxy(socketserver.ThreadingTCPServer):
    """Knows one name, `model.test`: this machine. Keeps the heads of the requests.

    Args:
        refusal: answers each request, if given.
    """

    daemon_threads = True
    block_on_close = False
    refusal: bytes | None

    def __init__(self, refusal: bytes | None):
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.refusal = refusal
        self.heads: list[str] = []
        self.port = self.server_address[1]

    def handle_error(self, *_: Any) -> None:
        pass  # clients and servers go away


class _ProxyHandler(socketserver.StreamRequestHandler):
    server: ForwardProxy

    def handle(self) -> None:
        lines = [line.decode() for line in itertools.takewhile(bytes.strip, self.rfile)]
        if not lines:
            return
        self.server.heads.append("".join(lines))
        method, target, _ = lines[0].split()
        if self.server.refusal is not None:
            length = re.search(r"(?im)^content-length: *(\d+)", "".join(lines))
            self.rfile.read(int(length[1]) if length else 0)
            self.wfile.write(self.server.refusal)
            return
        url = urlsplit(target if "://" in target else f"//{target}")
        assert url.hostname == "model.test"
        with socket.create_connection(("127.0.0.1", url.port or 80)) as upstream:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                own = ("proxy-", "connection:")
                head = [line for line in lines[1:] if not line.lower().startswith(own)]
                path = url._replace(scheme="", netloc="").geturl() or "/"
                first = f"{method} {path} HTTP/1.1\r\n"
                upstream.sendall("".join([first, *head, "Connection: close\r\n\r\n"]).encode())
            threading.Thread(target=self._send_on, args=(upstream,), daemon=True).start()
            while piece := upstream.recv(1 << 16):
                self.wfile.write(piece)
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_on(self, upstream: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while piece := self.rfile.read1(1 << 16):
                upstream.sendall(piece)
            upstream.shutdown(socket.SHUT_WR)


@contextmanager
def forward_proxy(refusal: bytes | None = None) -> Iterator[ForwardProxy]:
    with ForwardProxy(refusal) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
