"""The suspect of some evidence, asked as it was then: played from a tape, or once more."""

from __future__ import annotations

import os

from tfmark.alignment import AlignedEndpoint, Alignment, align
from tfmark.endpoints.base import Endpoint
from tfmark.endpoints.choosing import suspect_at
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.evidence.record import Evidence


def suspect_of(
    evidence: Evidence, address: str | os.PathLike[str], dialect: Dialect, connection: Connection
) -> tuple[Endpoint, Alignment | None]:
    """The suspect at an address, with its classes aligned if they were.

    Raises:
        InvalidArgumentError: if the suspect cannot be asked in such a way.
        EndpointError: if it cannot be asked at all.
    """
    spec, clean = evidence.spec, evidence.clean
    num_classes = spec.num_classes if clean is None else None
    task = Task(spec.image_shape, evidence.commitment.value_range, num_classes)
    suspect = suspect_at(address, task, dialect, connection)
    if clean is None:
        return suspect, None
    alignment = align(suspect, clean.images, clean.labels, spec.num_classes)
    return AlignedEndpoint(suspect, alignment), alignment
