"""What a suspect is asked about, and how it wants to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfmark.endpoints.compressed import FORMATS
from tfmark.errors import InvalidArgumentError
from tfmark.pixels import ValueRange, check_value_range

LARGEST_VERSION = 2**63 - 1
PROTOCOLS = ("tf-serving", "kserve-v1", "open-inference", "mlflow", "grpc", "local")
PIXELS = ("float", "integer", *FORMATS)


@dataclass(frozen=True)
class Task:
    """Images and classes of a key.

    Attributes:
        image_shape: shape of one image, or `None`: that of the images that are asked about.
        value_range: how the model expects pixels to be scaled.
        num_classes: number of classes K, or `None`: answers are read in the suspect's own
            numbering, whatever that is (see `tfmark.align`).
    """

    image_shape: tuple[int, ...] | None = None
    value_range: ValueRange = (0.0, 255.0)
    num_classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a suspect wants to be asked, as far as it does not tell itself.

    Attributes:
        protocol: name of the protocol, one of `PROTOCOLS` in `tfmark.endpoints`. Defaults to
            `None`, told from the address and by asking.
        signature: signature to ask. Defaults to the server's own default.
        version: version of the model to ask. Defaults to the one that the server chooses.
        version_label: label of the version to ask, instead of its number.
        input: name of the input. Defaults to the only one, or none at all.
        output: name of the output to read, if there are several. Defaults to the one with K scores,
            else the one with class ids or names.
        pixels: "float" (scaled as in training), "integer" (0 to 255), or "png" or "jpeg" (files, in
            base64 where the protocol has no bytes). Defaults to what the server says of its input,
            else "float"; for strings "png".
        value_range: scale of the pixels, if it is not that of the key.
        mirrored: whether to send images mirrored left and right, to a suspect that mirrors them in
            front of its model (see `tfmark.attacks.Flip`).
        columns: whether to send the columnar format of TensorFlow Serving ("inputs") instead of
            rows ("instances").
        batch_size: number of images in each request. Defaults to as many as are asked at once and
            fit into a request of 900 kB.
        class_names: what the service calls the classes, in the order of the key's class ids.

    Raises:
        InvalidArgumentError: if a value cannot work.
    """

    protocol: str | None = None
    signature: str | None = None
    version: int | None = None
    version_label: str | None = None
    input: str | None = None
    output: str | None = None
    pixels: str | None = None
    value_range: ValueRange | None = None
    mirrored: bool = False
    columns: bool = False
    batch_size: int | None = None
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.protocol not in (None, *PROTOCOLS):
            raise _invalid("protocol", f"one of {PROTOCOLS}", self.protocol)
        if self.pixels not in (None, *PIXELS):
            raise _invalid("pixels", f"one of {PIXELS}", self.pixels)
        if self.version is not None and not _is_count(self.version, 0, LARGEST_VERSION):
            raise _invalid("version", "a number from 0 to 2**63 - 1", self.version)
        if self.version is not None and self.version_label is not None:
            raise InvalidArgumentError("Expected `version` or `version_label`. Received both.")
        if self.batch_size is not None and not _is_count(self.batch_size, 1, 1 << 16):
            raise _invalid("batch_size", "a number from 1 to 65536", self.batch_size)
        names = self.class_names
        if names is not None and (
            isinstance(names, str) or not all(isinstance(name, str) for name in names)
        ):
            raise InvalidArgumentError("Expected `class_names` to be a list of texts.")
        if self.value_range is not None:
            object.__setattr__(self, "value_range", check_value_range(self.value_range))

    def refuse(self, protocol: str, *names: str) -> None:
        """Refuse options that a protocol has nothing for.

        Raises:
            InvalidArgumentError: if one of them is set.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None and value is not False:
                raise InvalidArgumentError(f"{protocol} has nothing for {name!r}.")


def _is_count(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _invalid(name: str, expected: str, received: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Invalid value for argument `{name}`. Expected {expected}. Received: {name}={received!r}"
    )
