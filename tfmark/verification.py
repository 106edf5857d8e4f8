"""`tfmark.verify`: asks a suspect one mark after the other, and stops as soon as it is decided."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmark import statistics
from tfmark.answers import NO_ANSWER, ClassIds
from tfmark.endpoints import Endpoint, KerasModel, TFServing
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.verdict import INCONCLUSIVE, NOT_SHOWN, OWNED, Verdict

FOLLOW_UP = 4  # questions at a time after a first miss, so that innocent suspects cost few marks


def verify(
    endpoint: Any,
    key: WatermarkKey,
    alpha: float = 1e-9,
    *,
    signature: str | None = None,
    output: str | None = None,
    version: int | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Verdict:
    """Ask a suspect about secret triggers and say whether it carries the watermark.

    The marks are asked in order, each on a base image that was never marked in training. Asking
    stops as soon as the evidence reaches 1 / alpha (at ten classes and alpha = 1e-9 that takes 10
    questions of an intact mark), or cannot reach it any more. Questions are sent together only as
    far as all of them are needed in any case.

    Example:
    ```python
    verdict = tfmark.verify("http://localhost:8501/v1/models/digits", key)
    print(verdict.owned, verdict.p_value, verdict)
    ```

    Args:
        endpoint: the suspect: address of a model on TensorFlow Serving's REST API, a Keras model in
            memory, or an `Endpoint`.
        key: the owner's `WatermarkKey`.
        alpha: the highest tolerable probability of accusing a model that was made without the key.
            Defaults to 1e-9.
        signature: for an address: name of the signature to ask.
        output: for an address or a Keras model: name of the output to read.
        version: for an address: version of the model to ask.
        headers: for an address: sent with each request. May hold credentials.
        timeout: for an address: seconds for each try of a request. Defaults to 30.

    Returns:
        A `Verdict`. A suspect that cannot be asked properly (no connection, other shapes, another
        number of classes) gives an "inconclusive" one, with the reason.

    Raises:
        InvalidArgumentError: if an argument cannot work, or the key has too few marks for `alpha`.
    """
    _check_alpha(alpha, key)
    options: dict[str, Any] = {
        "signature": signature, "version": version, "headers": headers, "timeout": timeout
    }  # fmt: skip
    suspect = _endpoint(endpoint, key, output, options)
    spec = key.spec
    triggers = key.triggers()
    matches = queries = answered = 0
    best = 0.0
    problem = ""
    while not problem:
        if best >= -math.log(alpha):
            return _verdict(key, alpha, OWNED, best, matches, queries, "The evidence suffices.")
        if queries == spec.num_marks or statistics.is_hopeless(
            matches, queries, spec.num_marks, spec.num_classes, alpha
        ):
            break
        needed = statistics.matches_to_prove(matches, queries, spec.num_classes, alpha)
        if matches < queries:
            needed = min(needed, FOLLOW_UP)
        asked = slice(queries, min(queries + needed, spec.num_marks))
        try:
            answers = _checked(suspect.classify(triggers.pixels[asked]), asked)
        except EndpointError as error:
            problem = str(error)
            break
        for answer, label in zip(answers, triggers.labels[asked], strict=True):
            queries += 1
            answered += int(answer != NO_ANSWER)
            matches += int(answer == label)
            best = max(best, float(statistics.log_evidence(matches, queries, spec.num_classes)))
    if not problem and answered < queries / 2:
        problem = f"Of {queries} questions {queries - answered} got no class for an answer."
    if problem:
        return _verdict(key, alpha, INCONCLUSIVE, best, matches, queries, problem)
    reason = (
        "Every mark was asked."
        if queries == spec.num_marks
        else "The remaining marks would not change that."
    )
    return _verdict(key, alpha, NOT_SHOWN, best, matches, queries, reason)


def _check_alpha(alpha: float, key: WatermarkKey) -> None:
    if not 0 < alpha < 1:
        raise InvalidArgumentError(
            f"Invalid value for argument `alpha`. Expected a number between 0 and 1. "
            f"Received: alpha={alpha!r}"
        )
    most = float(statistics.log_evidence(key.spec.num_marks, key.spec.num_marks,
                                         key.spec.num_classes))  # fmt: skip
    if most < -math.log(alpha):
        raise InvalidArgumentError(
            f"Invalid value for argument `alpha`. Expected at least {_rounded_up(-most):.2g}: this "
            f"key's {key.spec.num_marks} marks cannot prove more. Received: alpha={alpha!r}"
        )


def _rounded_up(log: float) -> float:
    """exp(log), rounded up to two digits."""
    unit = 10.0 ** (math.floor(log / math.log(10)) - 1)
    return float(math.ceil(math.exp(log) / unit) * unit)


def _endpoint(
    endpoint: Any, key: WatermarkKey, output: str | None, options: dict[str, Any]
) -> Endpoint:
    given = {name: value for name, value in options.items() if value is not None}
    spec = key.spec
    if isinstance(endpoint, str):
        return TFServing(
            endpoint, spec.image_shape, key.value_range, spec.num_classes, output=output, **given
        )
    if given:
        raise InvalidArgumentError(f"{', '.join(map(repr, given))} are for an address alone.")
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(endpoint, keras.Model):
        return KerasModel(endpoint, key.value_range, spec.num_classes, output)
    if isinstance(endpoint, Endpoint):
        if output is not None:
            raise InvalidArgumentError("'output' is for an address or a Keras model alone.")
        return endpoint
    raise InvalidArgumentError(
        "Invalid value for argument `endpoint`. Expected an address, a Keras model, or an object "
        f"with a method `classify`. Received: {type(endpoint).__name__}"
    )


def _checked(answers: Any, asked: slice) -> ClassIds:
    try:
        ids = np.asarray(answers)
    except ValueError:
        ids = np.empty(0)
    if ids.shape != (asked.stop - asked.start,) or not np.issubdtype(ids.dtype, np.integer):
        raise AnswerError(
            f"Expected {asked.stop - asked.start} class ids of an integer dtype. "
            f"Received: shape {ids.shape}, dtype {ids.dtype}"
        )
    return ids.astype(np.int64)


def _verdict(
    key: WatermarkKey, alpha: float, status: str, best: float, matches: int, queries: int,
    reason: str,
) -> Verdict:  # fmt: skip
    num_classes = key.spec.num_classes
    every_mark = queries == key.spec.num_marks
    return Verdict(
        status=status,
        p_value=math.exp(-best),
        evidence_bits=best / math.log(2),
        queries=queries,
        matches=matches,
        alpha=alpha,
        num_classes=num_classes,
        num_marks=key.spec.num_marks,
        tail_p_value=statistics.binomial_tail(matches, queries, num_classes)
        if every_mark
        else None,
        reason=reason,
    )
