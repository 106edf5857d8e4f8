"""Models in files: `.keras`, SavedModel folders, `.tflite`, `.onnx`.

They are run in this process. A SavedModel or an ONNX file can hold operations that read and write
files: run one of somebody you do not trust where it can do no harm.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfmark.endpoints.dialect import Dialect
from tfmark.endpoints.image_input import ImageInput
from tfmark.endpoints.model_files.runner import Runner
from tfmark.endpoints.redaction import Redactor
from tfmark.endpoints.service import Description
from tfmark.endpoints.signature import Signature, choose_signature
from tfmark.errors import AnswerError, InvalidArgumentError
from tfmark.pixels import Pixels

_Load = Callable[[Path], Runner]


class LocalModel:
    """A model in a file or folder.

    Args:
        path: a `.keras`, `.tflite` or `.onnx` file, or a SavedModel folder.
        dialect: how it wants to be asked.

    Attributes:
        address: the path.

    Raises:
        InvalidArgumentError: if there is no such file, or an option means nothing here.
        AnswerError: if the model cannot be loaded.
        ModuleNotFoundError: if what runs such models is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], dialect: Dialect):
        dialect.refuse("A model in a file", "version", "version_label", "columns")
        self.address = str(path)
        self._dialect = dialect
        self._format = _format(Path(path))
        try:
            load = self._format.loader()
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"A model of the format {self._format.name} needs {error.name}: "
                f"pip install 'tfmark[{self._format.extra}]'",
                name=error.name,
            ) from None
        try:
            self._runner = load(Path(path))
        except Exception as error:  # whatever the libraries raise for a broken file
            raise AnswerError(
                f"Cannot load {path} as a model of the format {self._format.name}. {_why(error)}"
            ) from None

    def signatures(self) -> tuple[Signature, ...]:
        """See `Service.signatures`."""
        return self._runner.signatures

    def describe(self) -> Description:
        """See `Service.describe`."""
        return Description(f"local ({self._format.name})", (), self._runner.signatures)

    def ask(self, images: Pixels, sent: ImageInput) -> Mapping[str, Any]:
        """See `Service.ask`."""
        signature = choose_signature(self._runner.signatures, self._dialect.signature)
        if sent.is_file:
            array = np.array(sent.files(images), object).reshape(len(images), *sent.shape)
        else:
            array = sent.array(images)
        try:
            return self._runner.run(signature, array)
        except Exception as error:  # as above
            raise AnswerError(
                f"The model cannot be asked about images of shape {images.shape[1:]}. {_why(error)}"
            ) from None


def _keras() -> _Load:
    from tfmark.endpoints.model_files.keras_file import KerasFile

    return KerasFile


def _saved_model() -> _Load:
    from tfmark.endpoints.model_files.saved_model import SavedModel

    return SavedModel


def _tflite() -> _Load:
    from tfmark.endpoints.model_files.tflite import TFLite

    return TFLite


def _onnx() -> _Load:
    from tfmark.endpoints.model_files.onnx import Onnx

    return Onnx


class _Format(NamedTuple):
    name: str
    loader: Callable[[], _Load]
    extra: str


_SAVED_MODEL = _Format("SavedModel", _saved_model, "tensorflow")
_BY_SUFFIX = {
    ".keras": _Format("Keras", _keras, "tensorflow"),
    ".tflite": _Format("TFLite", _tflite, "tensorflow"),
    ".onnx": _Format("ONNX", _onnx, "onnx"),
}


def _format(path: Path) -> _Format:
    if (path / "saved_model.pb").is_file():
        return _SAVED_MODEL
    if path.suffix not in _BY_SUFFIX or not path.is_file():
        raise InvalidArgumentError(
            f"Expected a .keras, .tflite or .onnx file, or a SavedModel folder. Received: {path}"
        )
    return _BY_SUFFIX[path.suffix]


def _why(error: Exception) -> str:
    text = str(error).encode(errors="replace")
    return f"{type(error).__name__}: {Redactor().explanation(text)}"
