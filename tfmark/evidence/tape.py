"""Records what crosses the wire while a suspect is asked, and plays it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from hashlib import sha256

from tfmark.endpoints.addresses import show
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.exchange import Answered, Asked
from tfmark.endpoints.http import ANSWERED
from tfmark.endpoints.redaction import Redactor
from tfmark.errors import (
    AnswerError,
    EndpointError,
    EvidenceError,
    RefusedError,
    UnreachableError,
)
from tfmark.evidence.questions import same_question

HIDDEN = "..."
_SHOWN = {"accept-encoding", "content-type", "user-agent"}  # headers that tfmark itself sets
# Kinds of failures, and the type of the value that each has.
FAILURES = {"unreachable": bool, "refused": int, "unreadable": type(None)}


@dataclass(frozen=True)
class Failure:
    """Why there was no answer.

    Attributes:
        kind: "unreachable", "refused" (an error of gRPC) or "unreadable".
        text: what was told, without secrets.
        value: whether trying again could help, the status, or `None`.
    """

    kind: str
    text: str
    value: int | bool | None

    def error(self) -> EndpointError:
        """The error that was raised."""
        if self.kind == "unreachable":
            return UnreachableError(self.text, passing=bool(self.value))
        if self.kind == "refused":
            return RefusedError(self.text, int(self.value or 0))
        return AnswerError(self.text)


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, or why there was none.

    Attributes:
        asked: what was sent, without credentials.
        answered: what was received, without credentials that it repeats.
        failure: why nothing was.
        sent: when it was sent, in UTC.
        received: when the answer was there.
        digest: SHA-256 of the answer's body as it came, before credentials were taken out of it, in
            hex; "" if there was none.
    """

    asked: Asked
    answered: Answered | None
    failure: Failure | None
    sent: datetime
    received: datetime
    digest: str = ""

    @property
    def failed(self) -> bool:
        """Whether there was no answer but a reason."""
        return self.answered is None or self.answered.status not in ANSWERED


@dataclass(frozen=True, kw_only=True)
class RecordingConnection(Connection):
    """Settings of connections that keep all that goes over them.

    Attributes:
        tape: the exchanges, in order.
        secrets: takes credentials out of them.
    """

    tape: list[Exchange] = field(default_factory=list, repr=False)
    secrets: Redactor = field(default_factory=Redactor, repr=False)

    @classmethod
    def like(cls, connection: Connection, address: str) -> RecordingConnection:
        """The same settings, recording."""
        values = {item.name: getattr(connection, item.name) for item in fields(Connection)}
        return cls(**values, secrets=connection.redactor(address))

    def exchange(self, asked: Asked, send: Callable[[Asked], Answered]) -> Answered:
        """See `Connection.exchange`. What is kept is also what is read."""
        sent = datetime.now(UTC)
        question = self._shown(asked)
        try:
            received = send(asked)
        except EndpointError as error:
            failure = _failure(error, self.secrets)
            self.tape.append(Exchange(question, None, failure, sent, datetime.now(UTC)))
            raise
        answered, digest = self._without_secrets(received), sha256(received.body).hexdigest()
        self.tape.append(Exchange(question, answered, None, sent, datetime.now(UTC), digest))
        return answered

    def _without_secrets(self, answered: Answered) -> Answered:
        headers = {
            self.secrets.clean(name): self.secrets.clean(value)
            for name, value in answered.headers.items()
            if name.lower() != "set-cookie"
        }
        body = self.secrets.blot(answered.body)
        return replace(answered, headers=headers, body=body)

    def _shown(self, asked: Asked) -> Asked:
        shown = _SHOWN - {name.lower() for name in self.headers}
        headers = {
            name: value if name.lower() in shown else HIDDEN
            for name, value in asked.headers.items()
        }
        return Asked(asked.method, show(asked.address), headers, asked.body)


@dataclass(frozen=True, kw_only=True)
class PlayingConnection(Connection):
    """Settings of connections on which nothing is sent: answers come from a tape.

    Attributes:
        tape: what is left of the exchanges.
    """

    tape: Iterator[Exchange] = field(repr=False)

    def wait(self, seconds: float) -> None:
        """See `Connection.wait`: there is nobody to wait for."""

    def exchange(self, asked: Asked, send: Callable[[Asked], Answered]) -> Answered:
        """See `Connection.exchange`.

        Raises:
            EvidenceError: if this is not the question that was asked next.
        """
        exchange = next(self.tape, None)
        if exchange is None:
            raise EvidenceError("a question is missing: its exchange is not among those kept")
        recorded = exchange.asked
        if (recorded.method, recorded.address) != (asked.method, show(asked.address)):
            raise EvidenceError(
                f"{recorded.method} {recorded.address} was sent where {asked.method} "
                f"{show(asked.address)} belongs"
            )
        if not same_question(recorded.body, asked.body):
            raise EvidenceError(
                f"the body of a request to {recorded.address} is not that of the next triggers"
            )
        if exchange.failure is not None:
            raise exchange.failure.error()
        if exchange.answered is None:
            raise EvidenceError("an exchange has neither an answer nor an error")
        return exchange.answered


def _failure(error: EndpointError, secrets: Redactor) -> Failure:
    text = secrets.clean(str(error))
    if isinstance(error, UnreachableError):
        return Failure("unreachable", text, error.passing)
    if isinstance(error, RefusedError):
        return Failure("refused", text, error.status)
    return Failure("unreadable", text, None)
