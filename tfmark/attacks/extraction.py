"""Extraction: a surrogate learns from the stolen model's answers, and takes none of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfmark.attacks.copies import fresh_copy
from tfmark.attacks.data import AttackData, as_attack_data
from tfmark.attacks.heads import Floats, Head, head_of
from tfmark.attacks.photographs import crops
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_count, check_positive, check_share
from tfmark.attacks.surrogates import small_network
from tfmark.attacks.training import default_batch_size, scores_of, train
from tfmark.errors import AttackError
from tfmark.pixels import Pixels

QUERIES = ("training", "disjoint", "out-of-domain")


@dataclass(frozen=True)
class Extract:
    """Ask the stolen model about images, and train a surrogate on its answers.

    With soft labels, training images and the same architecture this is distillation; with hard
    labels it is what can be done to a service that answers with a class and nothing else. The
    surrogate is trained with Adam and a cosine decay, as the rate has to suit any architecture.

    Example:
    ```python
    surrogate = tfmark.attacks.Extract("hard", epochs=2)(model, (x_train, y_train))
    ```

    Args:
        labels: "soft" are the scores, "hard" the likeliest class. Defaults to "soft".
        student: "same" architecture with new weights, an "other" one, or a function from the shape
            of an image and the number of classes to a `keras.Model` that takes pixels in the stolen
            model's scale. Defaults to "same".
        queries: "training" asks about the attacker's images, "disjoint" about `data.unseen`,
            "out-of-domain" about crops of photographs. Defaults to "training".
        temperature: by which soft labels are softened. Defaults to 1.
        learning_rate: where it starts. Defaults to 0.001.
        epochs: number of epochs. Defaults to 20.
        share: share of the attacker's images that is asked about. Defaults to 1.
        batch_size: number of images in a batch. Defaults to `None`: 128, or 32 for fewer than 5,000
            images.

    Reference:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Tramèr et al.,
        "Stealing Machine Learning Models via Prediction APIs", USENIX Security 2016; Orekondy et
        al., "Knockoff Nets", CVPR 2019.
    """

    labels: str = "soft"
    student: str | Callable[[tuple[int, ...], int], Any] = "same"
    queries: str = "training"
    temperature: float = 1.0
    learning_rate: float = 0.001
    epochs: int = 20
    share: float = 1.0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_choice("labels", self.labels, "soft", "hard")
        check_choice("queries", self.queries, *QUERIES)
        if not callable(self.student):
            check_choice("student", self.student, "same", "other")
        check_positive("temperature", self.temperature)
        check_positive("learning_rate", self.learning_rate)
        check_count("epochs", self.epochs)
        check_share("share", self.share)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model; see `FineTune.__call__`."""
        seed_everything(seed)
        data = as_attack_data(data, model)
        student = self._student(model, data)
        pixels = self._queries(data, seed)
        batch_size = self.batch_size or default_batch_size(len(pixels))
        steps = self.epochs * -(-len(pixels) // batch_size)
        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        train(
            student, pixels, self._answers(model, head_of(model, data), pixels, data),
            head=head_of(student, data), value_range=data.value_range,
            optimizer=keras.optimizers.Adam(rate), epochs=self.epochs, batch_size=batch_size,
            seed=seed, temperature=self._softness,
        )  # fmt: skip
        return student

    @property
    def _softness(self) -> float:
        return self.temperature if self.labels == "soft" else 1.0

    def _student(self, model: Any, data: AttackData) -> Any:
        shape = data.pixels.shape[1:]
        if callable(self.student):
            return self.student(shape, data.num_classes)
        if self.student == "other":
            return small_network(shape, data.num_classes, data.value_range)
        student = fresh_copy(model, data)
        student.trainable = True
        return student

    def _queries(self, data: AttackData, seed: int) -> Pixels:
        if self.queries == "training":
            return data.part(self.share, seed).pixels
        if self.queries == "out-of-domain":
            return crops(max(1, round(self.share * len(data))), data.pixels.shape[1:], seed)
        if data.unseen is None or not len(data.unseen):
            raise AttackError("The attacker has no images that the owner did not train on.")
        return data.unseen[: max(1, round(self.share * len(data.unseen)))]

    def _answers(self, model: Any, head: Head, pixels: Pixels, data: AttackData) -> Floats:
        soft = head.distributions(scores_of(model, pixels, data.value_range), self._softness)
        if self.labels == "soft":
            return soft
        hard: Floats = np.eye(data.num_classes, dtype=np.float32)[soft.argmax(axis=1)]
        return hard

    def __str__(self) -> str:
        student = "own" if callable(self.student) else self.student
        soft = f" at temperature {self.temperature:g}" if self._softness != 1 else ""
        share = f" ({self.share:.0%})" if self.share != 1 else ""
        return (
            f"{self.labels} labels{soft}, {student} architecture, {self.queries} images{share}, "
            f"Adam {self.learning_rate:g}, {self.epochs} epochs"
        )
