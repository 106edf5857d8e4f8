"""Runs `weight_files` in a process of its own, with a limit on its time and memory.

The HDF5 library is not made for hostile files: single changed bytes make it loop for ever. So
whatever becomes of the reader, the verifier ends, with the kernels or with one clear error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfmark.errors import InvalidArgumentError, ModelFileError
from tfmark.kernels import Kernel
from tfmark.weight_files import in_file

PATIENCE = 30.0  # seconds, and
SPEED = 1e7  # bytes that are read in each further second at the least
MEMORY = 4 << 30  # bytes of addresses, and as many times the file's size as
COPIES = 4
_REFUSED = 3  # exit code of a reader that says why


def read_kernels(path: str | os.PathLike[str], bits: int) -> list[Kernel]:
    """The kernels in a `.keras` or `.h5` file that can hold so many bits.

    Raises:
        InvalidArgumentError: if the file has another ending.
        ModelFileError: if the file is damaged, too large when unpacked, or of another format.
        OSError: if it cannot be read.
    """
    path = Path(path)
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise InvalidArgumentError(f"Expected a .keras or .h5 file. Received: {path}")
    if importlib.util.find_spec("h5py") is None:
        raise ModuleNotFoundError(
            "Reading weights from files needs h5py: pip install 'tfmark[weights]'", name="h5py"
        )
    with path.open("rb"):  # an error here is the system's own
        size = path.stat().st_size
    command = [sys.executable, "-P", "-m", "tfmark.weight_reader", str(path.absolute()), str(bits)]
    paths = os.pathsep.join(filter(None, sys.path))
    try:
        ended = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_seconds(size),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError("These weights cannot be read: reading them takes no end.") from None
    if ended.returncode == _REFUSED:
        raise ModelFileError(ended.stderr.decode(errors="replace").splitlines()[-1])
    if ended.returncode:
        raise ModelFileError(f"These weights cannot be read (exit code {ended.returncode}).")
    return list(_unpack(ended.stdout))


def main(path: str, bits: str) -> None:
    """What the reader's process does."""
    with contextlib.suppress(ImportError, ValueError):  # Windows has no such limits
        import resource

        size = Path(path).stat().st_size
        room, seconds = MEMORY + COPIES * size, math.ceil(_seconds(size))
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # should nobody wait any more
    try:
        kernels = list(in_file(Path(path), int(bits)))
    except (ModelFileError, MemoryError) as error:
        sys.stderr.write(str(error) or "These weights take too much memory.")
        sys.exit(_REFUSED)
    sys.stdout.buffer.write(_packed(kernels))


def _seconds(size: int) -> float:
    return PATIENCE + size / SPEED


def _packed(kernels: list[Kernel]) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        np.array([kernel.layer for kernel in kernels], str),
        *(kernel.means for kernel in kernels),
    )
    return buffer.getvalue()


def _unpack(data: bytes) -> Iterator[Kernel]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for number, layer in enumerate(arrays["arr_0"], start=1):
            yield Kernel(str(layer), arrays[f"arr_{number}"])


if __name__ == "__main__":
    main(*sys.argv[1:])
