"""`tfmark.robustness`: attacks a model before somebody else does it.

The module has another name, as a module `tfmark.robustness` would hide the function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

import tfmark
from tfmark.answers import ClassIds
from tfmark.attacks import NAMES, AttackData
from tfmark.attacks.catalogue import Attack, chosen
from tfmark.attacks.progress import watched
from tfmark.attacks.suspects import suspect_from
from tfmark.endpoints.base import checked_ids
from tfmark.errors import InvalidArgumentError, TfmarkError
from tfmark.key import WatermarkKey
from tfmark.labelled_data import as_dataset
from tfmark.pixels import Pixels
from tfmark.robustness_report import RobustnessReport, Row
from tfmark.triggers import Ints
from tfmark.verdict import NOT_SHOWN
from tfmark.verification import verify

ALPHA = 1e-9
PER_MARK = 4  # triggers of each mark that the watermark accuracy is measured on


def robustness(
    model: Any,
    key: WatermarkKey,
    data: Any,
    attacks: Any = None,
    strength: str = "mild",
    seed: int = 0,
    watcher: Callable[[int, float], None] | None = None,
) -> RobustnessReport:
    """Attack a marked model, and see what becomes of the mark and of the model's usefulness.

    The attacker has the training images with their labels, and half of the test images, without
    labels, for attacks that ask about images that the owner did not train on. The other half
    measures the test accuracy, of the model itself as well.

    Example:
    ```python
    data = (x_train, y_train, x_test, y_test)
    report = tfmark.robustness(model, key, data, attacks=["prune-global", "inputs"])
    print(report)
    report.plot("robustness.png")
    ```

    Args:
        model: the marked `keras.Model`. It is not changed.
        key: the owner's `WatermarkKey`.
        data: `(x_train, y_train, x_test, y_test)` or `((x_train, y_train), (x_test, y_test))`;
            images as they enter the model or integers from 0 to 255, labels as class ids or
            one-hot.
        attacks: names of attacks or of families of them (`tfmark.attacks.NAMES`, `FAMILIES`);
            attacks, such as `tfmark.attacks.FineTune()` or a function of yours from a model, an
            `AttackData` and a seed to a model; or attacks by name. Defaults to `None`, all that
            tfmark has.
        strength: "mild" or "strong", for attacks that are given by name. Defaults to "mild".
        seed: makes it reproducible. Keras' global seed is set before each attack. Defaults to 0.
        watcher: called with the number of attacks that are done and the share of the next one that
            is, 0 to 1. Defaults to `None`.

    Returns:
        A `RobustnessReport`. An attack that cannot be made on this model has a row that says why.

    Raises:
        InvalidArgumentError: if an argument cannot work.
        AnswerError: if the model cannot be asked about such images, or has other classes.
    """
    if not isinstance(model, keras.Model):
        raise InvalidArgumentError(
            f"Expected `model` to be a `keras.Model`. Received: {type(model).__name__}"
        )
    named = chosen(attacks, strength)
    dataset = as_dataset(data, key)
    held, tested = _halves(len(dataset.x_test), seed)
    attacker = AttackData(
        dataset.x_train, dataset.y_train, dataset.num_classes, key.value_range,
        dataset.x_test[held],
    )  # fmt: skip
    measure = _Measure(key, attacker, dataset.x_test[tested], dataset.y_test[tested])
    rows = [measure.row("none", "the model as it is", 0.0, model)]
    for done, (name, attack) in enumerate(named):
        tell = partial(watcher or _unwatched, done)
        tell(0.0)
        with watched(tell):
            rows.append(_attempt(name, attack, model, attacker, seed, measure))
        tell(1.0)
    tried = {name for name, _ in named}
    return RobustnessReport(
        tuple(rows), strength, seed, ALPHA, 1 / dataset.num_classes,
        tuple(name for name in NAMES if name not in tried),
        _facts(key, attacker, len(measure.labels)),
    )  # fmt: skip


def _attempt(
    name: str, attack: Attack, model: Any, attacker: AttackData, seed: int, measure: _Measure
) -> Row:
    """Make one attack and measure what it gives. A failure costs one row, not hours of others."""
    setting = "" if not hasattr(attack, "__dataclass_fields__") else str(attack)
    start = time.monotonic()
    try:
        attacked = attack(model, attacker, seed)
        return measure.row(name, setting, time.monotonic() - start, attacked)
    except TfmarkError as error:
        problem = str(error)
    except Exception as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return Row(name, setting, time.monotonic() - start, problem=problem.rstrip("."))


class _Measure:
    """Measures models on the same images and triggers, all in one go: it takes Keras a while."""

    def __init__(self, key: WatermarkKey, data: AttackData, images: Pixels, labels: Ints):
        sets = (key.triggers(PER_MARK, "embedding"), key.triggers(PER_MARK))
        self.labels = labels
        self._key = key
        self._data = data
        self._asked = np.concatenate([images, *(triggers.pixels for triggers in sets)])
        self._right = [labels, *(triggers.labels for triggers in sets)]

    def row(self, name: str, setting: str, seconds: float, model: Any) -> Row:
        suspect = suspect_from(model, self._data)
        answers = checked_ids(suspect.classify(self._asked), len(self._asked))
        parts = np.split(answers, np.cumsum([len(right) for right in self._right])[:-1])
        test, trained, unseen = (
            float(np.mean(part == right)) for part, right in zip(parts, self._right, strict=True)
        )
        verdict = verify(_Answered(self._asked, answers), self._key, ALPHA)
        if verdict.status == NOT_SHOWN:
            verdict = verify(suspect, self._key, ALPHA, thorough=True)
        return Row(name, setting, seconds, test, trained, unseen, verdict)


class _Answered:
    """A suspect that was asked before. What `verify` asks is among it."""

    def __init__(self, images: Pixels, answers: ClassIds):
        self._answers = {
            image.tobytes(): answer for image, answer in zip(images, answers, strict=True)
        }

    def classify(self, images: Pixels) -> ClassIds:
        return np.array([self._answers[image.tobytes()] for image in images], np.int64)


def _halves(count: int, seed: int) -> tuple[Ints, Ints]:
    if count < 2:
        raise InvalidArgumentError(f"Expected at least two test images. Received: {count}")
    order = np.random.default_rng([seed, 0]).permutation(count)
    return order[: count // 2], order[count // 2 :]


def _unwatched(done: int, share: float) -> None:
    pass


def _facts(key: WatermarkKey, attacker: AttackData, tested: int) -> dict[str, Any]:
    return {
        "tfmark": tfmark.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "commitment": key.commitment,
        "scheme": key.spec.scheme,
        "num_classes": key.spec.num_classes,
        "num_marks": key.spec.num_marks,
        "attacker_images": len(attacker),
        "test_images": tested,
    }
