"""Clean images with their classes from a .npz file, to align a suspect's classes with."""

from __future__ import annotations

import os
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark.errors import InvalidArgumentError

NAMES = (("images", "labels"), ("x_test", "y_test"), ("x", "y"), ("x_train", "y_train"))


# What NumPy and zipfile raise for a file that is damaged or something else.
_UNREADABLE = (
    OSError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError, RuntimeError,
    KeyError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def load_clean_images(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Load images and their class ids.

    Args:
        path: a .npz file with the arrays "images" and "labels", "x_test" and "y_test", "x" and "y",
            or "x_train" and "y_train", the first that are there.

    Returns:
        Images of shape (n, ...) and integers of shape (n,).

    Raises:
        InvalidArgumentError: if it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as loaded:
            for images, labels in NAMES:
                if images in loaded.files and labels in loaded.files:
                    return loaded[images], loaded[labels]
            found: Any = loaded.files
    except _UNREADABLE as error:
        raise InvalidArgumentError(f"Cannot read {path}: {type(error).__name__}") from None
    raise InvalidArgumentError(
        f"Expected arrays called {' or '.join(map(' and '.join, NAMES))} in {path}. "
        f"Received: {sorted(found)}"
    )
