"""gRPC for endpoints: bounded in time and size, retried where that can help, no secrets in errors.

As in `http`, everything that may go wrong on the way ends in an `EndpointError`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from tfmark.endpoints.connection import Connection
from tfmark.endpoints.exchange import Answered, Asked
from tfmark.endpoints.http import LONGEST_PAUSE, MAX_BODY, RETRIED
from tfmark.errors import (
    AnswerError,
    EndpointError,
    InvalidArgumentError,
    RefusedError,
    UnreachableError,
)

# As TensorFlow Serving maps them; 500 is that of all others.
_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
_TOO_LARGE = re.compile(r"(CLIENT: Received|Decompressed) message larger than max")
_NAME = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")
_VALUE = re.compile(r"[\x20-\x7e]*")
_OPTIONS = {
    "grpc.max_receive_message_length": MAX_BODY,
    "grpc.max_send_message_length": -1,
    "grpc.enable_retries": 0,  # `GrpcClient.call` retries
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.service_config_disable_resolution": 1,  # the owner of a domain sets no rules for calls
}


class GrpcClient:
    """Calls methods of one server, one after the other.

    Args:
        server: host and port.
        secure: whether to speak TLS.
        connection: credentials, certificates, time-outs. Headers are sent as metadata; a `Host` is
            the name of the server that is asked for, and in TLS that of its certificate.
        sleep: waits between tries. Defaults to the connection's way.

    Raises:
        InvalidArgumentError: if a certificate cannot be used, or a header cannot be sent.
    """

    def __init__(
        self,
        server: str,
        secure: bool,
        connection: Connection,
        sleep: Callable[[float], None] | None = None,
    ):
        headers = {name.lower(): value for name, value in connection.all_headers.items()}
        options = _OPTIONS | {"grpc.primary_user_agent": headers.pop("user-agent", "tfmark")}
        if "host" in headers:
            options["grpc.default_authority"] = headers.pop("host")
        self._metadata = _checked(headers)
        # Without the scheme a host could be taken for one.
        target, arguments = f"dns:///{server}", list(options.items())
        self._channel = (
            grpc.secure_channel(target, _credentials(connection), arguments)
            if secure
            else grpc.insecure_channel(target, arguments)
        )
        self._server = server
        self._connection = connection
        self._pace = connection.pace(sleep)
        self._sleep = sleep or connection.wait

    def call(self, method: str, request: bytes, retries: int | None = None) -> bytes:
        """Call a method, such as "/package.Service/Method".

        Args:
            method: its full name.
            request: the message to send.
            retries: how often to try again. Defaults to the connection's.

        Returns:
            The message that was answered.

        Raises:
            UnreachableError: if there was no connection or no answer in time.
            RefusedError: if the status was not OK. It has the HTTP status that stands for it.
            AnswerError: if the answer was too large.
        """
        retries = self._connection.retries if retries is None else retries
        asked = Asked("gRPC", method, dict(self._metadata), request)
        for attempt in range(retries + 1):
            self._pace()
            try:
                return self._connection.exchange(asked, self._over_network).body
            except UnreachableError:
                if attempt == retries:
                    raise
            except RefusedError as error:
                if attempt == retries or error.status not in RETRIED:
                    raise
            self._sleep(min(0.5 * 2**attempt, LONGEST_PAUSE))
        raise AssertionError  # the last try returns or raises

    def _over_network(self, asked: Asked) -> Answered:
        call = self._channel.unary_unary(asked.address)  # without a deserializer: bytes
        try:
            answer = call(asked.body, timeout=self._connection.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if _TOO_LARGE.search(details):
                raise AnswerError(f"The answer is larger than {MAX_BODY >> 20} MiB.") from None
            raise self._problem(code, details) from None
        return Answered(200, {}, answer)

    def _problem(self, code: str, details: str) -> EndpointError:
        if code == "DEADLINE_EXCEEDED":
            return UnreachableError(
                f"{self._server} did not answer within {self._connection.timeout:g} s."
            )
        last = details.rpartition("last error: ")[2]  # of those of all addresses of a host
        text = self._connection.redactor("").explanation(last.encode(errors="replace"))
        if code == "UNAVAILABLE":
            return UnreachableError(f"{self._server} cannot be reached: {text}")
        status = _HTTP_STATUS.get(code, 500)
        return RefusedError(f"{self._server} answered with gRPC status {code}: {text}", status)


def _checked(headers: dict[str, str]) -> list[tuple[str, str]]:
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise InvalidArgumentError(
                "Expected headers of printable ASCII for gRPC, whose names are made of letters, "
                "digits, '_', '.' and '-', do not begin with 'grpc-' and do not end with '-bin'. "
                "Received one that is not."
            )
    return list(headers.items())


def _credentials(connection: Connection) -> Any:
    context = connection.tls()  # checks the files as well
    if connection.ca_file is not None:
        roots = Path(connection.ca_file).read_bytes()
    else:
        # gRPC would trust a list of its own instead of the system's.
        certificates = context.get_ca_certs(binary_form=True)
        roots = "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode()
    chain = key = None
    if connection.cert_file is not None:
        chain = Path(connection.cert_file).read_bytes()
        key = Path(connection.key_file or connection.cert_file).read_bytes()
    return grpc.ssl_channel_credentials(roots or None, key, chain)
