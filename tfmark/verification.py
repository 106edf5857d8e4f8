"""`tfmark.verify`: asks a suspect one mark after the other, and stops as soon as it is decided."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from tfmark.alignment import AlignedEndpoint, Alignment, align
from tfmark.asking import ask, ask_thoroughly, test_of_marks
from tfmark.endpoints.base import Endpoint
from tfmark.endpoints.choosing import suspect_at
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.in_memory import KerasModel
from tfmark.endpoints.options import EndpointOptions, split_options
from tfmark.endpoints.service import Suspect
from tfmark.errors import EndpointError, InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.pixels import Pixels, to_pixels
from tfmark.sequential import SequentialTest
from tfmark.verdict import INCONCLUSIVE, NOT_SHOWN, Verdict

if TYPE_CHECKING:
    from tfmark.evidence.record import Evidence
    from tfmark.evidence.witness import Witness

FOR_KERAS = {"output"}


def verify(
    endpoint: Any,
    key: WatermarkKey,
    alpha: float = 1e-9,
    *,
    max_queries: int | None = None,
    thorough: bool = False,
    clean: tuple[Any, Any] | None = None,
    evidence: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    **options: Unpack[EndpointOptions],
) -> Verdict:
    """Ask a suspect about secret triggers and say whether it carries the watermark.

    The marks are asked in order, each on a base image that was never marked in training. Asking
    stops as soon as the evidence reaches 1 / alpha (at ten classes and alpha = 1e-9 that takes 10
    questions of an intact mark), or cannot reach it any more. Questions are sent together only as
    far as all of them are needed in any case, and one request at a time.

    Example:
    ```python
    >>> verdict = tfmark.verify("http://localhost:8501/v1/models/digits", key)
    >>> verdict.owned, verdict.queries
    (True, 10)
    ```

    Args:
        endpoint: the suspect: an address or a file as `tfmark.endpoint_from` takes it, a Keras
            model in memory, or an `Endpoint`.
        key: the owner's `WatermarkKey`.
        alpha: the highest tolerable probability of accusing a model that was made without the key.
            Defaults to 1e-9.
        max_queries: the most questions about triggers that may be asked. Defaults to `None`, the
            number of marks.
        thorough: whether to go on where that shows nothing: all marks are put on the same images,
            up to 16, and what counts is towards which class each mark moves the answers. It shows
            marks that a thief trained away as far as the likeliest class tells, best where the
            service gives scores of all classes, and takes 768 questions at ten classes. Both
            questions are counted: each has half of alpha. Evidence of it opens every mark. Defaults
            to `False`.
        clean: clean images and their class ids, for a suspect that numbers its classes in another
            way. They are asked first, to align the classes (see `tfmark.align`). Images are scaled
            as in training, or uint8. Defaults to `None`, the suspect's classes are the key's.
        evidence: where to write the evidence (a .zip file) that a third party can check with
            `tfmark.audit`. It opens the marks that were asked: the key, and its file, remember
            them, and the next question begins with other ones. Defaults to `None`: no mark is
            opened.
        report: where to write the same as a page for people (.html). Opens marks as well. Defaults
            to `None`.
        **options: for an address, the options of `tfmark.endpoint_from`: `signature`, `output`,
            `version`, `headers`, `timeout`, ... Of these `output` also names that of a Keras model.

    Returns:
        A `Verdict`. A suspect that cannot be asked properly (no connection, other shapes, another
        number of classes) gives an "inconclusive" one, with the reason, and no evidence.

    Raises:
        InvalidArgumentError: if an argument cannot work, or the key has too few marks for `alpha`.
        EvidenceError: if the evidence would be too large.
        FileExistsError: if there is a file where evidence or report should be.
        OSError: if one of them, or the key's own record of opened marks, cannot be written.

    Reference:
        Ville, 1939, for the bound on evidence that is looked at after each answer; Zhang et al.,
        ASIACCS 2018, for asking a remote model about triggers; Fisher, "The Design of Experiments",
        1935, for the randomization test of the thorough question.
    """
    dialect, connection = split_options(dict(options))
    if thorough and max_queries is not None:
        raise InvalidArgumentError(
            "The thorough question is about all marks. Expected no `max_queries` beside it. "
            f"Received: max_queries={max_queries!r}"
        )
    witness = None
    if evidence is not None or report is not None:
        _check_free(evidence, report)
        witness = _witness(endpoint, key, dialect, connection, thorough)
        connection = witness.connection

    def test_of(alignment: Alignment | None) -> SequentialTest:
        tries = math.log(2) * thorough if witness is None else witness.log_tries(alignment)
        return test_of_marks(key, alpha, max_queries, tries)

    test = test_of(None)
    images_and_labels = None if clean is None else _clean_images(clean, key)
    alignment = None
    try:
        suspect = _endpoint(endpoint, key, dict(options), dialect, connection, clean is not None)
        if images_and_labels is not None:
            alignment = align(suspect, *images_and_labels, key.spec.num_classes)
            suspect = AlignedEndpoint(suspect, alignment)
            test = test_of(alignment)
    except EndpointError as error:
        return test.verdict(str(error))
    if witness is not None:
        suspect = witness.listen(suspect, test, alignment)
    verdict = replace(ask(suspect, key.fresh_triggers(), test), alignment=alignment)
    if thorough and verdict.status == NOT_SHOWN:
        verdict = ask_thoroughly(
            suspect, key, verdict,
            lambda: math.log(2) if witness is None else witness.log_tries(alignment, thorough=True),
        )  # fmt: skip
    if witness is not None and verdict.status != INCONCLUSIVE:
        kept = witness.evidence(verdict, test.num_marks, images_and_labels)
        _keep(kept, key, evidence, report)
    return verdict


def _witness(
    endpoint: Any, key: WatermarkKey, dialect: Dialect, connection: Connection, thorough: bool
) -> Witness:
    from tfmark.evidence.witness import Witness

    if isinstance(endpoint, Suspect):
        raise InvalidArgumentError(
            "For evidence, give the address itself, not an endpoint that was made of it before: "
            "all that is sent has to be kept."
        )
    return Witness(key, endpoint, dialect, connection, thorough)


def _keep(
    found: Evidence,
    key: WatermarkKey,
    evidence: str | os.PathLike[str] | None,
    report: str | os.PathLike[str] | None,
) -> None:
    if evidence is not None:
        from tfmark.evidence.bundle import write_evidence

        _write(evidence, write_evidence(found, key))
    if report is not None:
        from tfmark.evidence.report import render_report

        _write(report, render_report(found).encode())


def _check_free(*paths: str | os.PathLike[str] | None) -> None:
    """See that files can be made, before marks are opened for what would stand in them."""
    for path in paths:
        if path is not None:
            Path(path).open("xb").close()
            Path(path).unlink()


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    with Path(path).open("xb") as file:
        file.write(content)


def _endpoint(
    endpoint: Any,
    key: WatermarkKey,
    options: dict[str, Any],
    dialect: Dialect,
    connection: Connection,
    aligned: bool,
) -> Endpoint:
    spec = key.spec
    num_classes = None if aligned else spec.num_classes
    task = Task(spec.image_shape, key.value_range, num_classes)
    if isinstance(endpoint, str | os.PathLike):
        return suspect_at(endpoint, task, dialect, connection)
    given = {name for name, value in options.items() if value is not None}
    keras = sys.modules.get("keras")
    is_keras = keras is not None and isinstance(endpoint, keras.Model)
    if strange := given - (FOR_KERAS if is_keras else set()):
        raise InvalidArgumentError(f"{', '.join(map(repr, sorted(strange)))} are for an address.")
    if is_keras:
        return KerasModel(endpoint, key.value_range, num_classes, options.get("output"))
    if isinstance(endpoint, Suspect):
        return endpoint.about(task)
    if isinstance(endpoint, Endpoint):
        return endpoint
    raise InvalidArgumentError(
        "Invalid value for argument `endpoint`. Expected an address, a file, a Keras model, or an "
        f"object with a method `classify`. Received: {type(endpoint).__name__}"
    )


def _clean_images(clean: tuple[Any, Any], key: WatermarkKey) -> tuple[Pixels, Any]:
    try:
        images, labels = map(np.asarray, clean)
    except (TypeError, ValueError):
        raise InvalidArgumentError("Expected `clean` to be images and their class ids.") from None
    if images.dtype.kind not in "iuf":
        raise InvalidArgumentError(
            f"Expected clean images as numbers. Received: dtype {images.dtype}"
        )
    if images.shape[1:] != key.spec.image_shape:
        raise InvalidArgumentError(
            f"Expected clean images of shape (n, {', '.join(map(str, key.spec.image_shape))}). "
            f"Received: shape {images.shape}"
        )
    return to_pixels(images, key.value_range), labels
