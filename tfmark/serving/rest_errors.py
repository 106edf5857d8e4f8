"""An error that becomes an HTTP answer."""

from __future__ import annotations

HTTP_STATUS = {  # TensorFlow's errors, in the order of their numbers from 1
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class RestError(Exception):
    """A request that is answered with an error, in TensorFlow Serving's words.

    Args:
        message: what stands in the answer.
        code: TensorFlow's name of the kind of error, which decides about the HTTP status.
    """

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT"):
        super().__init__(message)
        self.code = code
        self.status = HTTP_STATUS[code]
