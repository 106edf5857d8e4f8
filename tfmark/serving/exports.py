"""Finds SavedModels in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from tfmark.errors import InvalidArgumentError

Exports = dict[str, dict[int, Path]]  # folder of each version of each model


def find_exports(directory: str | os.PathLike[str]) -> Exports:
    """Find the SavedModels in a folder: one, the versions of one model, or several models.

    Returns:
        For each model's name the folder of each version.

    Raises:
        InvalidArgumentError: if there is none.
    """
    folder = Path(directory).resolve()
    if _is_saved_model(folder):
        return {folder.name: {1: folder}}
    if versions := _versions(folder):
        return {folder.name: versions}
    children = sorted(folder.iterdir()) if folder.is_dir() else []
    exports = {child.name: versions for child in children if (versions := _versions(child))}
    exports |= {child.name: {1: child} for child in children if _is_saved_model(child)}
    if not exports:
        raise InvalidArgumentError(
            "Expected a folder that `model.export` wrote, or a folder of such folders, as in "
            f"served/digits/1. Received: {directory}"
        )
    return exports


def _versions(folder: Path) -> dict[int, Path]:
    children = folder.iterdir() if folder.is_dir() else []
    return {int(c.name): c for c in children if c.name.isdecimal() and _is_saved_model(c)}


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()
