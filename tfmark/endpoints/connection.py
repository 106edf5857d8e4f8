"""How the way to a suspect is taken: credentials, certificates, proxies, patience."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tfmark.endpoints.exchange import Answered, Asked
from tfmark.endpoints.redaction import Redactor
from tfmark.errors import InvalidArgumentError

LONGEST_TIMEOUT = 86_400.0  # seconds
MOST_RETRIES = 100
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SERVER = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")

FilePath = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Settings of the connections to a suspect. What is secret in them is not shown.

    Attributes:
        headers: sent with each request, such as {"Authorization": "Bearer ..."}. A `Host` routes
            where several models share a gateway.
        auth: name and password for basic authentication.
        ca_file: certificates (PEM) to trust instead of the system's.
        cert_file: client certificate (PEM) for mutual TLS, with its key unless `key_file` is given.
        key_file: key of the client certificate (PEM, without a passphrase).
        timeout: seconds for each try of a request, all of it. Defaults to 30.
        retries: how often to try again where that can help. Defaults to 3.
        delay: least number of seconds between two requests. Defaults to 0.
        max_time: seconds after which a suspect is asked nothing more. Defaults to 3600.

    Raises:
        InvalidArgumentError: if a value cannot work.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    timeout: float = 30.0
    retries: int = 3
    delay: float = 0.0
    max_time: float = 3600.0

    def __post_init__(self) -> None:
        _check_seconds("timeout", self.timeout, 1e-3)
        _check_seconds("delay", self.delay, 0.0)
        _check_seconds("max_time", self.max_time, 1e-3)
        if not (type(self.retries) is int and 0 <= self.retries <= MOST_RETRIES):
            raise InvalidArgumentError(
                f"Invalid value for argument `retries`. Expected a number from 0 to "
                f"{MOST_RETRIES}. Received: retries={self.retries!r}"
            )
        if not isinstance(self.headers, Mapping):
            raise InvalidArgumentError("Expected `headers` to be a mapping from name to value.")
        for name, value in self.headers.items():
            names = isinstance(name, str) and _HEADER_NAME.fullmatch(name)
            if not (names and isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
                raise InvalidArgumentError(
                    "Expected headers of one line of latin-1 text each. Received one that is not."
                )
        if self.auth is not None:
            pair = isinstance(self.auth, tuple | list) and len(self.auth) == 2
            if not (pair and all(isinstance(part, str) for part in self.auth)):
                raise InvalidArgumentError("Expected `auth` to be a name and a password.")
            if ":" in self.auth[0]:
                raise InvalidArgumentError("Expected a name without a colon in `auth`.")
            if any(name.lower() == "authorization" for name in self.headers):
                raise InvalidArgumentError("Expected `auth` or an Authorization header, not both.")
        if self.key_file is not None and self.cert_file is None:
            raise InvalidArgumentError("Expected `cert_file` with `key_file`.")

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, those of `auth` included."""
        headers = dict(self.headers)
        if self.auth is not None:
            token = base64.b64encode(":".join(self.auth).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        return headers

    def redactor(self, address: str) -> Redactor:
        """Takes the credentials, and those in the query of an address, out of texts."""
        secrets = [*self.all_headers.values(), *(self.auth or ()), address.partition("?")[2]]
        proxy = None
        if address.startswith(("http:", "https:")):
            with contextlib.suppress(InvalidArgumentError):  # told where the address is checked
                proxy = proxy_for(address)
        if proxy is not None and proxy.auth:
            token = base64.b64encode(proxy.auth.encode()).decode()
            secrets += [f"Basic {token}", quote(proxy.auth, safe=":")]
        return Redactor(secrets)

    def tls(self) -> ssl.SSLContext:
        """What is trusted, and what is shown to the server.

        Raises:
            InvalidArgumentError: if a certificate or key cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgumentError(f"Cannot use the file of `ca_file`: {error}") from None
        if self.cert_file is not None:
            locked = False

            def passphrase() -> str:  # without it, OpenSSL would ask on the terminal
                nonlocal locked
                locked = True
                return ""

            try:
                context.load_cert_chain(self.cert_file, self.key_file, passphrase)
            except (OSError, ssl.SSLError) as error:
                problem = str(error)
                if locked:
                    problem = "the key has a passphrase. Expected one without."
                elif "PEM lib" in problem:  # all that OpenSSL tells
                    problem = "Expected PEM files with a certificate, and its key."
                raise InvalidArgumentError(
                    f"Cannot use the files of `cert_file` and `key_file`: {problem}"
                ) from None
        return context

    def exchange(self, asked: Asked, send: Callable[[Asked], Answered]) -> Answered:
        """Each request goes through here, and each answer: the place to record them.

        Raises:
            EndpointError: if `send` does.
        """
        return send(asked)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def pace(self, sleep: Callable[[float], None] | None = None) -> Callable[[], None]:
        """A function that waits until `delay` has passed since it returned the last time.

        Args:
            sleep: lets time pass. Defaults to `wait`.
        """
        free_at = 0.0

        def wait() -> None:
            nonlocal free_at
            if (pause := free_at - time.monotonic()) > 0:
                (sleep or self.wait)(pause)
            free_at = time.monotonic() + self.delay

        return wait


@dataclass(frozen=True)
class Proxy:
    """A proxy on the way to a suspect."""

    url: str
    auth: str | None = field(repr=False)


def proxy_for(url: str) -> Proxy | None:
    """The proxy that the environment (`http_proxy`, `https_proxy`, `no_proxy`) names for `url`.

    This machine itself is never asked by way of one.

    Raises:
        InvalidArgumentError: if its address is none.
    """
    try:
        parts = urlsplit(url)
        if _is_loopback(parts.hostname or ""):
            return None
    except ValueError:
        raise InvalidArgumentError("Expected an address with a host that can be.") from None
    proxies = urllib.request.getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(parts.netloc):
        return None
    scheme, _, rest = address.rpartition("://")
    credentials, _, server = rest.rstrip("/").rpartition("@")
    if scheme not in ("", "http", "https") or not _SERVER.fullmatch(server):
        raise InvalidArgumentError(
            f"The environment names a proxy for {parts.scheme} whose address is not of the form "
            "http://HOST:PORT."
        )
    return Proxy(f"{scheme or 'http'}://{server}", unquote(credentials) or None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_seconds(name: str, value: Any, least: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and least <= value <= LONGEST_TIMEOUT):
        raise InvalidArgumentError(
            f"Invalid value for argument `{name}`. Expected seconds, from {least:g} to "
            f"{LONGEST_TIMEOUT:g}. Received: {name}={value!r}"
        )
