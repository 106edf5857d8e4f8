"""An error that becomes an HTTP answer."""

from __future__ import annotations


class RestError(Exception):
    """A request that is answered with an error, in TensorFlow Serving's words.

    Args:
        status: the HTTP status.
        message: what stands in the answer.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
