"""Unlearning: the thief knows how marks are made, and teaches the model to ignore all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from tfmark.attacks.copies import copy_of
from tfmark.attacks.data import as_attack_data
from tfmark.attacks.fine_tuning import FineTune
from tfmark.attacks.second_keys import MOST_BASES, SCHEMES, second_key
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_share
from tfmark.key import WatermarkKey
from tfmark.trigger_graph import TriggerGraph

MARKS = MOST_BASES // 2  # as many as so many images take: of few the model would learn each


@dataclass(frozen=True)
class Unlearn:
    """Fine-tune on images with fresh marks of the owner's kind, labelled as what they show.

    The thief has read how marks are made, but has no key. Of the "unrelated" scheme, whose images
    show nothing, all classes are to be as likely.

    Example:
    ```python
    attacked = tfmark.attacks.Unlearn("noise")(model, (x_train, y_train))
    ```

    Args:
        scheme: which marks, "content", "unrelated" or "noise". Defaults to "noise".
        ratio: marked images for each clean one, above 0 up to 1. Defaults to 1.
        tuning: the fine-tuning. Defaults to `FineTune()`.

    Reference:
        Wang et al., "Neural Cleanse", S&P 2019, who unlearn a trigger that they found in the model.
    """

    scheme: str = "noise"
    ratio: float = 1.0
    tuning: FineTune = field(default_factory=FineTune)

    def __post_init__(self) -> None:
        check_choice("scheme", self.scheme, *SCHEMES)
        check_share("ratio", self.ratio)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        key = second_key(self.scheme, data, seed, MARKS)
        self.tuning.train(copy, model, data, seed, transform=_marking(key, self.ratio, seed))
        return copy

    def __str__(self) -> str:
        ratio = f", ratio {self.ratio:g}" if self.ratio != 1 else ""
        return f"{self.scheme} to ignore{ratio}; {self.tuning}"


def _marking(key: WatermarkKey, ratio: float, seed: int) -> Callable[[Any], Any]:
    """A `tf.data` transformation of (images, rows): puts marked images behind those of a batch."""
    graph, foreign = TriggerGraph(key, robust=False), key.spec.scheme == "unrelated"

    def mark(batch: tuple[Any, Any], random: Any) -> tuple[Any, Any]:
        images, rows = batch
        count = tf.cast(tf.round(ratio * tf.cast(tf.shape(images)[0], tf.float32)), tf.int32)
        marked, _, sources = graph.make(images, random % 2**31, count, random)
        shown = tf.gather(rows, sources)
        if foreign:
            shown = tf.ones_like(shown) / tf.cast(tf.shape(shown)[1], shown.dtype)
        return tf.concat([images, marked], 0), tf.concat([rows, shown], 0)

    def transform(batches: Any) -> Any:
        random = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
        return tf.data.Dataset.zip((batches, random)).map(mark, tf.data.AUTOTUNE)

    return transform
