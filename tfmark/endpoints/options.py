"""The keywords of `tfmark.endpoint_from` and `tfmark.verify`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from tfmark.endpoints.connection import Connection, FilePath
from tfmark.endpoints.dialect import Dialect
from tfmark.errors import InvalidArgumentError
from tfmark.pixels import ValueRange


class EndpointOptions(TypedDict, total=False):
    """The keywords of `endpoint_from`: the attributes of `Dialect` and of `Connection`."""

    protocol: str | None
    signature: str | None
    version: int | None
    version_label: str | None
    input: str | None
    output: str | None
    pixels: str | None
    value_range: ValueRange | None
    mirrored: bool
    columns: bool
    batch_size: int | None
    class_names: Sequence[str] | None
    headers: Mapping[str, str]
    auth: tuple[str, str] | None
    ca_file: FilePath | None
    cert_file: FilePath | None
    key_file: FilePath | None
    timeout: float
    retries: int
    delay: float
    max_time: float


def split_options(options: dict[str, Any]) -> tuple[Dialect, Connection]:
    """Sort keywords into what to say and how to get there.

    Raises:
        InvalidArgumentError: if one is neither, or its value cannot work.
    """
    known = EndpointOptions.__annotations__
    if strange := options.keys() - known:
        raise InvalidArgumentError(
            f"Expected options out of {sorted(known)}. Received: {sorted(strange)}"
        )
    said = {field.name for field in dataclasses.fields(Dialect)}
    return (
        Dialect(**{name: value for name, value in options.items() if name in said}),
        Connection(**{name: value for name, value in options.items() if name not in said}),
    )
