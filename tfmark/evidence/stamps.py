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
        certificates: their certificates.
        named: whether the auditor named them; else they are the system's.
    """

    certificates: list[Certificate]
    named: bool

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None) -> Authorities:
        """Those in a file, or the system's.

        Raises:
            TimeStampError: if there is no certificate in the file.
            OSError: if it cannot be read.
        """
        from tfmark.time_stamp_chains import load_certificates, system_certificates

        found = system_certificates() if path is None else load_certificates(path)
        return cls(list(found), path is not None)


def check_stamps(found: Evidence, authorities: Authorities) -> Step:
    """Whether a trusted authority saw the commitment, and when."""
    from tfmark.time_stamps import check_time_stamp, read_time_stamp

    if not found.time_stamps:
        status = REFUSED if authorities.named else OPEN
        return Step(NAME, status, "There is none: nothing shows that the commitment is older than "
                                  "the suspect.")  # fmt: skip
    trusted, unknown = [], []
    for number, response in enumerate(found.time_stamps):
        try:
            stamp = check_time_stamp(response, found.commitment.document, authorities.certificates)
            trusted.append(stamp)
        except UntrustedTimeStampError:
            unknown.append(read_time_stamp(response))
        except TimeStampError as error:
            return Step(NAME, REFUSED, f"Time stamp {number}: {error}")
    if trusted:
        first = min(trusted, key=lambda stamp: stamp.time)
        text = (
            f"The commitment was there on {first.time:%Y-%m-%d at %H:%M:%S} UTC, says "
            f"{first.authority}. Compare that with when the suspect appeared."
        )
        return Step(NAME, HOLDS, text)
    first = min(unknown, key=lambda stamp: stamp.time)
    status = REFUSED if authorities.named else OPEN
    return Step(NAME, status, f"It says {first.time:%Y-%m-%d at %H:%M:%S} UTC, by "
                              f"{first.authority}, which none of the trusted certificates vouches "
                              "for. Name its certificates with tsa_ca (--tsa-ca).")  # fmt: skip
