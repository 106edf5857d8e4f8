"""HTTP for endpoints: bounded in time and size, retried where that can help, no secrets in errors.

urllib3 does the protocol. Everything that may go wrong on the way ends in an `EndpointError`.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import urllib3

from tfmark.endpoints.deadline import pool_manager
from tfmark.errors import AnswerError, InvalidArgumentError, RefusedError, UnreachableError

MAX_BODY = 16 << 20  # bytes of an answer, after decompression
RETRIED = (429, 502, 503, 504)
LONGEST_PAUSE = 30.0  # seconds


class Transport(Protocol):
    """The part of `urllib3.PoolManager` that is used; tests may bring their own."""

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send one request and return its answer with the body unread."""
        ...


class HttpClient:
    """Sends requests one after the other.

    Args:
        headers: sent with each request; may hold credentials.
        timeout: seconds for each try, all of it: connecting, sending, and reading the answer.
        retries: how often to try again after an answer or a failure that may pass.
        transport: sends the requests. Defaults to `deadline.pool_manager()`.
        sleep: waits between tries.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": "tfmark", **(headers or {})}
        self._timeout = timeout
        self._retries = retries
        self._transport = transport or pool_manager()
        self._sleep = sleep

    def get(self, url: str, retries: int) -> bytes:
        """Get `url` with so many retries; see `post`."""
        return self._send("GET", url, None, retries)

    def post(self, url: str, body: bytes) -> bytes:
        """Post a JSON body and return the body of a 200 answer.

        Raises:
            UnreachableError: if there was no connection or no answer in time.
            RefusedError: if the status was not 200.
            AnswerError: if the answer was too large or broken.
        """
        return self._send("POST", url, body, self._retries)

    def _send(self, method: str, url: str, body: bytes | None, retries: int) -> bytes:
        for attempt in range(retries + 1):
            try:
                status, answer, pause = self._once(method, url, body)
            except UnreachableError:
                if attempt == retries:
                    raise
                pause = None
            else:
                if status == 200:
                    return answer
                if status not in RETRIED or attempt == retries:
                    raise _refusal(url, status, answer)
            self._sleep(min(0.5 * 2**attempt if pause is None else pause, LONGEST_PAUSE))
        raise AssertionError  # the last try returns or raises

    def _once(self, method: str, url: str, body: bytes | None) -> tuple[int, bytes, float | None]:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            response = self._transport.request(
                method, url, body=body, headers=headers, timeout=self._timeout, retries=False,
                redirect=False, preload_content=False,
            )  # fmt: skip
            try:
                answer = _read(response)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except urllib3.exceptions.DecodeError:
            raise AnswerError(f"{show(url)} sent a broken compressed answer.") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{show(url)} {_problem(error, self._timeout)}.") from None
        return response.status, answer, _retry_after(response.headers.get("Retry-After"))


def check_url(url: str) -> str:
    """Return an HTTP address without a slash at its end.

    Raises:
        InvalidArgumentError: if it is not one, or has a name and password in it.
    """
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        parts = urllib3.util.Url()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise InvalidArgumentError(
            "Expected an address that begins with http:// or https://, such as "
            f"http://localhost:8501/v1/models/digits. Received: {show(url)}"
        )
    if parts.auth is not None:
        raise InvalidArgumentError(
            "Expected an address without a name and password. Pass them as a header: "
            "'Authorization: Basic ...'."
        )
    return url.rstrip("/")


def show(url: str) -> str:
    """An address as it may be printed: without name, password, and query."""
    without_query = url.partition("?")[0]
    scheme, separator, rest = without_query.rpartition("://")
    host, slash, path = rest.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(1 << 16, decode_content=True):
        size += len(chunk)
        if size > MAX_BODY:
            raise AnswerError(f"The answer is larger than {MAX_BODY >> 20} MiB.")
        chunks.append(chunk)
    return b"".join(chunks)


def _problem(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "does not accept connections"
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return f"did not answer within {timeout:g} s"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"has no certificate that can be trusted ({error})"
    return f"broke the connection off ({type(error).__name__})"


def _refusal(url: str, status: int, answer: bytes) -> RefusedError:
    if 300 <= status < 400:
        text = "it redirects; ask the address it redirects to, if you trust it"
    else:
        text = _explanation(answer)
    return RefusedError(f"{show(url)} answered with HTTP status {status}: {text}", status)


def _explanation(answer: bytes) -> str:
    """What an error body says, in one line, without what it may repeat of the request.

    Servers quote the JSON that they do not like, and hostile ones quote the headers: long runs of
    numbers (triggers) and long words (credentials) are left out.
    """
    text = answer[:2000].decode("utf-8", "replace")
    if "<html" in text.lower():
        text = re.sub(r"<[^>]*>", " ", text)
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"])
    text = "".join(character if character.isprintable() else " " for character in text)
    text = re.sub(r"[-+.,\[\]\s\deE]{12,}", " ... ", text)
    text = re.sub(r"\S{60,}", "...", text)
    return " ".join(text.split())[:200] or "no explanation"


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header in either of its forms."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
