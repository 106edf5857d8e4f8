"""What happens to a key after it was made: public, and changed without its passphrase."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any

from tfmark.errors import InvalidArgumentError

MAX_TIME_STAMPS = 16
MAX_TIME_STAMP = 1 << 16  # bytes; with all certificates most have below 8,000
FIELDS = {"opened", "time_stamps"}


@dataclass(frozen=True)
class Records:
    """What happened to a key. Nothing in it is secret.

    Args:
        opened: so many marks, the first ones, were opened in evidence.
        time_stamps: RFC 3161 responses (DER) over `Commitment.document`.

    Raises:
        InvalidArgumentError: if a value is of the wrong type, or there are too many.
    """

    opened: int = 0
    time_stamps: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not (type(self.opened) is int and self.opened >= 0):
            raise InvalidArgumentError(
                f"Expected a number of opened marks, 0 or more. Received: {self.opened!r}"
            )
        if len(self.time_stamps) > MAX_TIME_STAMPS:
            raise InvalidArgumentError(
                f"Expected at most {MAX_TIME_STAMPS} time stamps. Received: {len(self.time_stamps)}"
            )
        for stamp in self.time_stamps:
            if not (isinstance(stamp, bytes) and 0 < len(stamp) <= MAX_TIME_STAMP):
                raise InvalidArgumentError(
                    f"Expected time stamps of 1 to {MAX_TIME_STAMP} bytes. Received: "
                    f"{f'{len(stamp)} bytes' if isinstance(stamp, bytes) else type(stamp)}"
                )

    def opening(self, count: int, num_marks: int) -> Records:
        """What is recorded once the next `count` of a key's marks are opened.

        Raises:
            InvalidArgumentError: if fewer are left.
        """
        left = num_marks - self.opened
        if not (type(count) is int and 1 <= count <= left):
            raise InvalidArgumentError(
                "Invalid value for argument `count`. Expected a number of marks, of which "
                f"{left} are left to open. Received: count={count!r}"
            )
        return replace(self, opened=self.opened + count)

    def merged(self, other: Records) -> Records:
        """What is known from both: no mark is closed again, no time stamp is lost."""
        stamps = dict.fromkeys(other.time_stamps + self.time_stamps)
        return Records(max(self.opened, other.opened), tuple(stamps))

    def to_json(self) -> dict[str, Any]:
        """The `FIELDS` of the header of a key file."""
        stamps = [base64.b64encode(stamp).decode() for stamp in self.time_stamps]
        return {"opened": self.opened, "time_stamps": stamps}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Records:
        """Take them from a header.

        Raises:
            ValueError, TypeError: if they are not as `to_json` makes them.
        """
        if not isinstance(facts["time_stamps"], list):
            raise TypeError
        stamps = (base64.b64decode(stamp, validate=True) for stamp in facts["time_stamps"])
        return cls(facts["opened"], tuple(stamps))
