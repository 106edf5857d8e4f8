"""The step of an audit that looks at time stamps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfmark.errors import TimeStampError, UntrustedTimeStampError
from tfmark.evidence.steps import HOLDS, OPEN, REFUSED, Step

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from tfmark.evidence.record import Evidence

NAME = "time stamp"


@dataclass(frozen=True)
class Authorities:
    """Whose time stamps are trusted.

    Attributes:
        named: the certificates that the auditor named; `None` for the system's, which take a while
            to load and are loaded where there is a time stamp.
    """

    named: tuple[Certificate, ...] | None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None) -> Authorities:
        """Those in a file, or the system's.

        Raises:
            InvalidArgumentError: if there is no certificate in the file.
            OSError: if it cannot be read.
        """
        from tfmark.time_stamps import load_certificates

        return cls(None if path is None else load_certificates(path))

    @property
    def refuses(self) -> str:
        """What becomes of stamps that show nothing: who names authorities wants to see one."""
        return OPEN if self.named is None else REFUSED


def check_stamps(found: Evidence, authorities: Authorities) -> Step:
    """Whether a trusted authority saw the commitment, and when."""
    if not found.time_stamps:
        text = "There is none: nothing shows that the commitment is older than the suspect."
        return Step(NAME, authorities.refuses, text)
    from tfmark.time_stamps import check_time_stamp, read_time_stamp, system_certificates

    ca = system_certificates() if authorities.named is None else authorities.named
    trusted, unknown = [], []
    for number, response in enumerate(found.time_stamps):
        try:
            stamp = check_time_stamp(response, found.commitment.document, ca)
            trusted.append(stamp)
        except UntrustedTimeStampError:
            unknown.append(read_time_stamp(response))
        except TimeStampError as error:
            return Step(NAME, REFUSED, f"Time stamp {number}: {error}")
    if trusted:
        first = min(trusted, key=lambda stamp: stamp.time)
        if first.time > found.started:
            text = (
                f"It was made on {first.time:%Y-%m-%d at %H:%M:%S} UTC, after the suspect was "
                "asked: nothing shows that the commitment is older."
            )
            return Step(NAME, authorities.refuses, text)
        text = (
            f"The commitment was there on {first.time:%Y-%m-%d at %H:%M:%S} UTC, says "
            f"{first.authority}. Compare that with when the suspect appeared."
        )
        return Step(NAME, HOLDS, text)
    first = min(unknown, key=lambda stamp: stamp.time)
    text = (
        f"It says {first.time:%Y-%m-%d at %H:%M:%S} UTC, by {first.authority}, which none of the "
        "trusted certificates vouches for. Name its certificates with tsa_ca (--tsa-ca)."
    )
    return Step(NAME, authorities.refuses, text)
