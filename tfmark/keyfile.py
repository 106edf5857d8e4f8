r"""The format of a key file: data alone, every field checked, every size bounded.

    "tfmark key 1\n" | length of the header, 4 bytes, big-endian | header, JSON in UTF-8
    | base images, uint8 | SHA-256 of all that stands before

The header holds "secret" (hex), "value_range" and "spec" (the fields of `Spec`).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfmark.errors import InvalidArgumentError, KeyFileError, KeyFileExistsError
from tfmark.pixels import Pixels, ValueRange
from tfmark.spec import MAX_BASE_BYTES, Spec

MAGIC = b"tfmark key 1\n"
MAX_HEADER = 1 << 16
DIGEST = 32

T = TypeVar("T")


def pack(secret: bytes, spec: Spec, base_images: Pixels, value_range: ValueRange) -> bytes:
    """Bring the parts of a key into the format of a key file."""
    facts = {"secret": secret.hex(), "value_range": value_range, "spec": asdict(spec)}
    header = json.dumps(facts, sort_keys=True).encode()
    content = MAGIC + len(header).to_bytes(4, "big") + header + base_images.tobytes()
    return content + hashlib.sha256(content).digest()


def unpack(data: bytes) -> tuple[bytes, Spec, Pixels, ValueRange]:
    """Take the parts of a key out of a key file.

    Raises:
        KeyFileError: if anything about it is not as expected.
    """
    if not data.startswith(MAGIC):
        raise KeyFileError("This is not a tfmark key file.")
    content, digest = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise KeyFileError("This key file is damaged or truncated: its checksum does not match.")
    start = len(MAGIC) + 4
    length = int.from_bytes(content[len(MAGIC) : start], "big")
    if length > min(MAX_HEADER, len(content) - start):
        raise KeyFileError(f"This key file is damaged: it claims a header of {length} bytes.")
    pixels = content[start + length :]
    return checked(lambda: _parts(json.loads(content[start : start + length]), pixels))


def checked(make: Callable[[], T]) -> T:
    """Call `make`; say of any value that cannot work that the key file is to blame.

    The cause is not chained: it may hold secrets.
    """
    try:
        return make()
    except InvalidArgumentError as error:
        problem = str(error)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        problem = f"a field is missing or of the wrong type ({type(error).__name__})"
    raise KeyFileError(f"This key file is invalid: {problem}")


def read(path: str | os.PathLike[str]) -> bytes:
    """Read a file that may be a key file, but no more than the largest one there can be."""
    largest = len(MAGIC) + 4 + MAX_HEADER + MAX_BASE_BYTES + DIGEST
    with Path(path).open("rb") as file:
        data = file.read(len(MAGIC))
        if data == MAGIC:
            data += file.read(min(largest, os.fstat(file.fileno()).st_size))
    return data


def write(path: str | os.PathLike[str], data: bytes, overwrite: bool) -> None:
    """Write a file of mode 0600, whole or not at all."""
    path = Path(path)
    if overwrite:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    else:
        try:
            handle, name = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), str(path)
        except FileExistsError:
            raise KeyFileExistsError(
                f"{path} exists already and is not replaced: it may be the only copy of a key."
            ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _parts(header: Any, pixels: bytes) -> tuple[bytes, Spec, Pixels, ValueRange]:
    facts, (low, high) = header["spec"], header["value_range"]
    if not (isinstance(facts, dict) and isinstance(header["value_range"], list)):
        raise InvalidArgumentError("a field is of the wrong type")
    facts.setdefault("owner", "")  # in keys of before there were owners
    unknown = header.keys() ^ {"secret", "value_range", "spec"} | facts.keys() ^ _SPEC_FIELDS
    if unknown:
        raise InvalidArgumentError(f"missing or unknown fields {sorted(unknown)}")
    spec = Spec(**facts | {"image_shape": tuple(facts["image_shape"])})
    if len(pixels) != np.prod(spec.base_shape, dtype=np.int64):
        raise InvalidArgumentError(f"{len(pixels)} bytes of base images, not {spec.base_shape}")
    images = np.frombuffer(pixels, np.uint8).reshape(spec.base_shape)
    return bytes.fromhex(header["secret"]), spec, images, (low, high)


_SPEC_FIELDS = {field.name for field in fields(Spec)}
