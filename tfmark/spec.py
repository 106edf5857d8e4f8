"""What a key's marks are made for: the public specification that the commitment binds."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from tfmark.errors import InvalidArgumentError

FORMAT = 2
SCHEMES = ("content", "unrelated", "noise")
MAX_SIDE = 4096
MAX_CLASSES = 1_000_000
MAX_MARKS = 4096
MAX_BASE_BYTES = 1 << 30
MAX_TEXT = 64
MAX_OWNER = 200


@dataclass(frozen=True)
class Purpose:
    """What marks are made for.

    Args:
        scheme: "content", "unrelated" or "noise".
        image_shape: (height, width) or (height, width, channels) of one image.
        num_classes: number of classes K of the model.
        num_marks: number of marks.
        text: what the marks of the content scheme write, otherwise "".
        owner: who says that a model is theirs, in words, "" if nobody is named. It is bound: a
            proof that was made with this key cannot be passed off as somebody else's.

    Raises:
        InvalidArgumentError: if a value is of the wrong type or cannot work.
    """

    scheme: str
    image_shape: tuple[int, ...]
    num_classes: int
    num_marks: int
    text: str
    owner: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise _invalid("scheme", self.scheme, f"one of {', '.join(map(repr, SCHEMES))}")
        shape = self.image_shape
        if not (
            isinstance(shape, tuple)
            and len(shape) in (2, 3)
            and all(_is_int(side, 1, MAX_SIDE) for side in shape)
        ):
            expected = f"(height, width) or (height, width, channels), each from 1 to {MAX_SIDE}"
            raise _invalid("image_shape", shape, expected)
        if not _is_int(self.num_classes, 2, MAX_CLASSES):
            raise _invalid("num_classes", self.num_classes, f"a number from 2 to {MAX_CLASSES}")
        if not _is_int(self.num_marks, 1, MAX_MARKS):
            raise _invalid("num_marks", self.num_marks, f"a number from 1 to {MAX_MARKS}")
        if not (isinstance(self.text, str) and len(self.text) <= MAX_TEXT):
            raise _invalid("text", self.text, f"at most {MAX_TEXT} characters")
        if bool(self.text) != (self.scheme == "content"):
            raise _invalid("text", self.text, 'some text for scheme="content", none for others')
        if not (
            isinstance(self.owner, str)
            and len(self.owner) <= MAX_OWNER
            and self.owner.isprintable()
            and self.owner == self.owner.strip()
        ):
            expected = f"at most {MAX_OWNER} printable characters, no blanks around them"
            raise _invalid("owner", self.owner, expected)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels), also where the images have no axis of channels."""
        height, width, *channels = self.image_shape
        return height, width, channels[0] if channels else 1


@dataclass(frozen=True)
class Spec(Purpose):
    """The public facts about a key. Every leaf of the commitment contains all of them.

    Args:
        base_groups: number of groups of base images; mark i uses group i modulo this.
        base_per_group: number of base images in a group.
        base_channels: channels of the base images: those of the image, or 1.
        num_verification: so many of each group, the first ones, are kept for verification.
        base_root: Merkle root over the base images, in hex.
        bound: digest over what else is published of the key (see `Commitment.binding`), in hex, so
            that nobody can publish something else of the same marks. "" in keys of format 1.

    Raises:
        InvalidArgumentError: if a value is of the wrong type or cannot work.
    """

    base_groups: int
    base_per_group: int
    base_channels: int
    num_verification: int
    base_root: str
    bound: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_base_images()
        if not (isinstance(self.bound, str) and re.fullmatch("([0-9a-f]{64})?", self.bound)):
            raise _invalid("bound", self.bound, "a digest of 64 hex digits, or none")

    def _check_base_images(self) -> None:
        counts = (self.base_groups, self.base_per_group, self.num_verification)
        if not all(_is_int(count, 1, 1 << 32) for count in counts):
            raise _invalid("base images", counts, "positive numbers of groups and images")
        if self.base_channels not in (1, self.shape[2]):
            raise _invalid("base images", self.base_channels, f"1 or {self.shape[2]} channels")
        if self.num_verification >= self.base_per_group:
            raise _invalid("base images", counts, "some for embedding beside those kept")
        if math.prod(self.base_shape) > MAX_BASE_BYTES:
            raise _invalid("base images", self.base_shape, f"at most {MAX_BASE_BYTES >> 20} MiB")
        if not (isinstance(self.base_root, str) and re.fullmatch("[0-9a-f]{64}", self.base_root)):
            raise _invalid("base images", self.base_root, "a digest of 64 hex digits")

    @property
    def base_shape(self) -> tuple[int, int, int, int, int]:
        """(groups, images in a group, height, width, channels) of the base images."""
        height, width, _ = self.shape
        return self.base_groups, self.base_per_group, height, width, self.base_channels

    def canonical(self) -> bytes:
        """The specification as the bytes that go into each leaf: sorted JSON without spaces.

        What older keys did not have stands in it only where there is some, so that they keep their
        commitment.
        """
        facts = asdict(self) | {"format": FORMAT if self.bound else 1}
        for name in ("owner", "bound"):
            if not facts[name]:
                del facts[name]
        return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode("ascii")


def _is_int(value: Any, lowest: int, highest: int) -> bool:
    return type(value) is int and lowest <= value <= highest


def _invalid(name: str, received: Any, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"Invalid value for `{name}`. Expected {expected}. Received: {received!r}"
    )
