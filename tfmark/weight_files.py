"""Reads kernels out of a suspect's file without running anything that is in it.

A `.keras` file is a zip archive with the weights as HDF5 in it. Nothing but these weights is read:
no configuration, no code. The file is hostile: sizes are bounded by its own size before anything is
unpacked or read, and links that lead out of it are not followed.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import numpy.typing as npt

from tfmark.errors import ModelFileError
from tfmark.kernels import Kernel, averaged
from tfmark.weight_secret import averaged_size, can_hold

WEIGHTS = "model.weights.h5"
EXPANSION = 32  # times its own size that a file may grow when it is unpacked,
SLACK = 64 << 20  # and any file to so many bytes: pruned weights can be compressed a lot
MAX_DEPTH = 64
MAX_OBJECTS = 100_000
MAX_NAME = 200
MAX_TOTAL = 1 << 24  # averaged weights in a file; they are what takes time to read bits from
_CHUNK = 1 << 20


def in_file(path: Path, bits: int) -> Iterator[Kernel]:
    """The kernels in a `.keras` or `.h5` file that can hold so many bits.

    The HDF5 library may loop for ever on a damaged file: see `weight_reader`.

    Raises:
        ModelFileError: if the file is damaged, too large when unpacked, or of another format.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        if path.suffix == ".keras":
            with _unpacked(file) as weights:
                yield from _kernels(weights, bits)
        else:
            yield from _kernels(file, bits)


@contextmanager
def _unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The weights of a `.keras` file as a temporary file."""
    with tempfile.TemporaryFile() as unpacked:
        try:
            with zipfile.ZipFile(file) as archive:
                member = archive.getinfo(WEIGHTS)
                _check_growth(member.file_size, _size(file))
                with archive.open(member) as packed:  # ends at the size it was said to have
                    shutil.copyfileobj(packed, unpacked, _CHUNK)
        except KeyError:
            raise ModelFileError(f"This file holds no {WEIGHTS}.") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError,
                NotImplementedError) as error:  # fmt: skip
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(
                f"This is no .keras file, or a damaged one ({type(error).__name__})."
            ) from None
        yield unpacked


def _kernels(file: IO[bytes], bits: int) -> Iterator[Kernel]:
    try:
        with h5py.File(file, "r") as store:
            room = _size(file)
            read = total = 0
            for layer, dataset in _datasets(store):
                if not _is_kernel(dataset, bits):
                    continue
                read += max(dataset.nbytes, _chunk_size(dataset))
                _check_growth(read, room)
                total += averaged_size(dataset.shape)
                if total > MAX_TOTAL:
                    raise ModelFileError("These weights have too many parts.")
                yield averaged(layer, _numbers(dataset))
    except ModelFileError:
        raise
    except Exception as error:  # h5py raises whatever the damage leads to
        raise ModelFileError(f"These weights cannot be read ({type(error).__name__}).") from None


def _datasets(store: Any) -> Iterator[tuple[str, Any]]:
    """All arrays with the names of their layers, but for those of the optimizer."""
    waiting = [(name, "", store, 0) for name in store if not name.startswith("optimizer")]
    seen = 0
    while waiting:
        name, layer, parent, depth = waiting.pop()
        seen += 1
        if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
            continue  # it may lead to another file
        entry = parent[name]
        if isinstance(entry, h5py.Dataset):
            yield layer, entry
        elif isinstance(entry, h5py.Group):
            if depth == MAX_DEPTH or seen + len(waiting) + len(entry) > MAX_OBJECTS:
                raise ModelFileError("These weights have too many parts.")
            inner = _layer(layer, name, entry)
            waiting += [(child, inner, entry, depth + 1) for child in sorted(entry, reverse=True)]


def _layer(outer: str, name: str, group: Any) -> str:
    """The name of a layer: Keras 3 keeps it as an attribute of the group `vars` in the layer's."""
    if name in ("vars", "layers"):
        return outer
    own = str(group["vars"].attrs.get("name", name)) if "vars" in group else name
    printable = "".join(char if char.isprintable() else "?" for char in own[:MAX_NAME])
    return f"{outer}/{printable}".strip("/")


def _is_kernel(dataset: Any, bits: int) -> bool:
    if dataset.is_virtual or dataset.external:  # such data lie in other files
        return False
    is_number = dataset.dtype.kind in "fiu" or _is_bfloat16(dataset)
    return is_number and dataset.shape is not None and can_hold(dataset.shape, bits)


def _is_bfloat16(dataset: Any) -> bool:
    return bool(dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2)


def _chunk_size(dataset: Any) -> int:
    """Bytes that HDF5 unpacks together; they may be more than there are in the array."""
    return math.prod(dataset.chunks or ()) * int(dataset.dtype.itemsize)


def _numbers(dataset: Any) -> npt.NDArray[Any]:
    if not _is_bfloat16(dataset):
        return np.asarray(dataset[()])
    upper: npt.NDArray[np.uint16] = dataset[()].view(np.uint16)
    return (upper.astype(np.uint32) << 16).view(np.float32)


def _check_growth(size: int, room: int) -> None:
    if size > SLACK + EXPANSION * room:
        raise ModelFileError(
            f"Expected weights of at most {EXPANSION} times the file's size. Received: {size} bytes"
        )


def _size(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)
