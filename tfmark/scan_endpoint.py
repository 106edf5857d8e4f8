"""An endpoint of a scan: made late, interrupted at once, and never the end of the scan."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from tfmark.answers import ClassIds
from tfmark.endpoints.choosing import suspect_at
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.service import Suspect
from tfmark.errors import EndpointError, InvalidArgumentError
from tfmark.pixels import Pixels


class Interrupted(BaseException):
    """No more questions are to be sent."""


@dataclass(frozen=True, kw_only=True)
class StoppableConnection(Connection):
    """Settings that many endpoints share.

    Attributes:
        stop: once it is set, each request raises `Interrupted` instead of being sent.
    """

    stop: threading.Event

    def tls(self) -> ssl.SSLContext:
        """See `Connection.tls`: one for all endpoints, for it takes a while to make."""
        return self._tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return super().tls()

    def wait(self, seconds: float) -> None:
        """See `Connection.wait`."""
        self.stop.wait(seconds)

    def pace(self, sleep: Callable[[float], None] | None = None) -> Callable[[], None]:
        """See `Connection.pace`."""
        wait = super().pace(sleep)

        def wait_unless_stopped() -> None:
            wait()
            if self.stop.is_set():
                raise Interrupted

        return wait_unless_stopped


class LateEndpoint:
    """An `Endpoint` that is made when it is first asked, for that may take requests of its own.

    Args:
        address: address or path of the model.
        task: images and classes of the key.
        dialect: how it wants to be asked.
        connection: settings of the connections.
    """

    def __init__(self, address: str, task: Task, dialect: Dialect, connection: Connection):
        self._address, self._task = address, task
        self._dialect, self._connection = dialect, connection

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        try:
            return self._suspect.classify(images)
        except (EndpointError, ModuleNotFoundError):
            raise
        except InvalidArgumentError as error:
            raise EndpointError(str(error)) from None
        except Exception as error:  # one endpoint must not end the scan of all others
            raise EndpointError(f"Asking ended with a {type(error).__name__}.") from None

    @cached_property
    def _suspect(self) -> Suspect:
        return suspect_at(self._address, self._task, self._dialect, self._connection)
