"""HTTP for endpoints: bounded in time and size, retried where that can help, no secrets in errors.

urllib3 does the protocol. Everything that may go wrong on the way ends in an `EndpointError`.
"""

from __future__ import annotations

import email.utils
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import urllib3

from tfmark.endpoints.addresses import show
from tfmark.endpoints.connection import Connection, proxy_for
from tfmark.endpoints.deadline import DeadlineTransport
from tfmark.endpoints.exchange import Answered, Asked
from tfmark.errors import AnswerError, RefusedError, UnreachableError

MAX_BODY = 4 << 20  # bytes of an answer, decompressed; as Python objects they take 40 times that
ANSWERED = (200, 201)  # some time-stamping authorities create what they answer
RETRIED = (429, 502, 503, 504)
JSON = "application/json"
LONGEST_PAUSE = 30.0  # seconds
_DER = 2  # OpenSSL's number for the binary form of a certificate


class Transport(Protocol):
    """The part of `urllib3.PoolManager` that is used; tests may bring their own."""

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send one request and return its answer with the body unread."""
        ...


class HttpClient:
    """Sends requests one after the other.

    Args:
        connection: credentials, certificates, time-outs.
        transport: sends the requests. Defaults to `DeadlineTransport`, by way of the proxy that
            the environment names.
        sleep: waits between tries. Defaults to the connection's way.
    """

    def __init__(
        self,
        connection: Connection | None = None,
        transport: Transport | None = None,
        sleep: Callable[[float], None] | None = None,
    ):
        self._connection = connection or Connection()
        headers = self._connection.all_headers
        self._headers = _merged({"Accept-Encoding": "gzip", "User-Agent": "tfmark"}, headers)
        self._timeout = self._connection.timeout
        self._transport = transport
        self._sleep = sleep or self._connection.wait
        self._pace = self._connection.pace(sleep)

    def get(self, url: str, retries: int) -> bytes:
        """Get `url`, with so many retries where that was refused; see `post`."""
        return self._send("GET", url, self._headers, None, min(retries, self._connection.retries))

    def post(self, url: str, body: bytes, content_type: str = JSON) -> bytes:
        """Post a body and return the one of the answer.

        Raises:
            UnreachableError: if there was no connection or no answer in time.
            RefusedError: if the status was one of an error.
            AnswerError: if the answer was too large or broken.
        """
        headers = _merged({"Content-Type": content_type}, self._headers)
        return self._send("POST", url, headers, body, self._connection.retries)

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, retries: int
    ) -> bytes:
        for attempt in range(retries + 1):
            try:
                answered = self._once(method, url, headers, body)
            except UnreachableError as error:
                if attempt == retries or body is None or not error.passing:
                    raise
                pause = None
            else:
                if answered.status in ANSWERED:
                    return answered.body
                if answered.status not in RETRIED or attempt == retries:
                    raise self._refusal(url, answered)
                pause = _retry_after(answered.headers.get("Retry-After"))
            self._sleep(min(0.5 * 2**attempt if pause is None else pause, LONGEST_PAUSE))
        raise AssertionError  # the last try returns or raises

    def _refusal(self, url: str, answered: Answered) -> RefusedError:
        status = answered.status
        if 300 <= status < 400:
            text = "it redirects; ask the address it redirects to, if you trust it"
        else:
            text = self._connection.redactor(url).explanation(answered.body)
        return RefusedError(f"{show(url)} answered with HTTP status {status}: {text}", status)

    def _connect(self, url: str) -> Transport:
        tls = self._connection.tls() if url.lower().startswith("https:") else None
        return DeadlineTransport(url, tls, proxy_for(url))

    def _once(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answered:
        self._pace()
        return self._connection.exchange(Asked(method, url, headers, body), self._over_network)

    def _over_network(self, asked: Asked) -> Answered:
        url = asked.address
        transport = self._transport = self._transport or self._connect(url)
        try:
            response = transport.request(
                asked.method, url, body=asked.body, headers=asked.headers, timeout=self._timeout,
                retries=False, redirect=False, preload_content=False,
            )  # fmt: skip
            try:
                certificates = _certificates(response)
                answer = _read(response)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except urllib3.exceptions.DecodeError:
            raise AnswerError(f"{show(url)} sent a broken compressed answer.") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            distrusted = isinstance(_cause(error), ssl.SSLCertVerificationError)
            problem = _problem(error, self._timeout)
            raise UnreachableError(f"{show(url)} {problem}.", passing=not distrusted) from None
        return Answered(response.status, response.headers, answer, certificates)


def _merged(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Headers, of which those that were given replace defaults, however their names are spelled."""
    names = {name.lower() for name in given}
    return {k: v for k, v in defaults.items() if k.lower() not in names} | dict(given)


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(1 << 16, decode_content=True):
        size += len(chunk)
        if size > MAX_BODY:
            raise AnswerError(f"The answer is larger than {MAX_BODY >> 20} MiB.")
        chunks.append(chunk)
    return b"".join(chunks)


def _certificates(response: urllib3.BaseHTTPResponse) -> tuple[bytes, ...]:
    """The chain that the server was trusted by, where there was TLS."""
    sock = getattr(response.connection, "sock", None)
    if not isinstance(sock, ssl.SSLSocket):
        return ()
    if hasattr(sock, "get_verified_chain"):  # from Python 3.13 on; before, a private name has it
        return tuple(sock.get_verified_chain())
    return tuple(cert.public_bytes(_DER) for cert in sock._sslobj.get_verified_chain())  # type: ignore[attr-defined]


def _problem(error: Exception, timeout: float) -> str:
    cause = _cause(error)
    if isinstance(error, urllib3.exceptions.ProxyError):
        status = re.match(r"Tunnel connection failed: ([0-9]{3})\b", str(cause))
        said = f": it answered with HTTP status {status[1]}" if status else ""
        return f"cannot be reached by the proxy that the environment names{said}"
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "has a name that cannot be found"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "does not accept connections"
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return f"did not answer within {timeout:g} s"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"has no certificate that can be trusted ({cause})"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"cannot be talked to over TLS ({error})"
    return f"broke the connection off ({type(error).__name__})"


def _cause(error: BaseException) -> Any:
    """The error of the system or of OpenSSL that urllib3 wraps."""
    inner = getattr(error, "original_error", None) or (error.args and error.args[0])
    return _cause(inner) if isinstance(inner, BaseException) else error


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header in either of its forms."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]+", value.strip()):
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
