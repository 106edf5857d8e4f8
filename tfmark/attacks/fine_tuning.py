"""Fine-tuning: train the stolen model on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tfmark.attacks.copies import copy_of, initialise, layers_of
from tfmark.attacks.data import AttackData, as_attack_data
from tfmark.attacks.heads import head_of, last_layer, one_hot
from tfmark.attacks.seeds import seed_everything
from tfmark.attacks.settings import check_choice, check_count, check_positive, check_share
from tfmark.attacks.training import default_batch_size, scores_of, train
from tfmark.errors import AttackError, InvalidArgumentError
from tfmark.hardening import soften


@dataclass(frozen=True)
class FineTune:
    """Train a copy of the stolen model on.

    Batch normalisation takes part as in any training: it normalises by each batch and moves its
    averages along.

    Example:
    ```python
    attacked = tfmark.attacks.FineTune(learning_rate=0.01, epochs=5)(model, (x_train, y_train))
    verdict = tfmark.verify(attacked, key)
    ```

    Args:
        layers: "all" trains all weights, also those that the owner froze; "last" those of the last
            layer. Defaults to "all".
        reinitialise: whether the last layer starts anew. Defaults to `False`.
        labels: "true" ones, or those that are "predicted" by the stolen model. Defaults to "true".
        learning_rate: where it starts. Defaults to 0.01.
        halve_every: number of epochs after which the learning rate is halved, again and again.
            Defaults to `None`, never.
        epochs: number of epochs. Defaults to 5.
        share: share of the attacker's images that is used. Defaults to 0.2.
        batch_size: number of images in a batch. Defaults to `None`: 128, or 32 for fewer than 5,000
            images.
        optimizer: "sgd" or "adam", which takes steps of one size however small the gradients are.
            Defaults to "sgd".
        momentum: of stochastic gradient descent. Defaults to 0.
        weight_decay: as Keras' optimizers take it. Defaults to `None`.
        augment: whether each image is moved by up to a tenth of each side, turned by up to 14
            degrees and zoomed by up to a tenth, at random. Defaults to `False`.
        soften: whether `tfmark.soften` is called before, which undoes `tfmark.harden`. Defaults to
            `False`.

    Reference:
        Adi et al., "Turning Your Weakness Into a Strength", USENIX Security 2018, for the four
        kinds: FTLL, FTAL, RTLL, RTAL.
    """

    layers: str = "all"
    reinitialise: bool = False
    labels: str = "true"
    learning_rate: float = 0.01
    halve_every: int | None = None
    epochs: int = 5
    share: float = 0.2
    batch_size: int | None = None
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float | None = None
    augment: bool = False
    soften: bool = False

    def __post_init__(self) -> None:
        check_choice("layers", self.layers, "all", "last")
        check_choice("labels", self.labels, "true", "predicted")
        check_choice("optimizer", self.optimizer, "sgd", "adam")
        check_positive("learning_rate", self.learning_rate)
        check_count("epochs", self.epochs)
        check_share("share", self.share)
        for name in ("halve_every", "batch_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.momentum and self.optimizer != "sgd":
            raise InvalidArgumentError(
                "Invalid value for argument `momentum`. Expected 0 with Adam, which has its own. "
                f"Received: momentum={self.momentum!r}"
            )

    def __call__(self, model: Any, data: Any, seed: int = 0) -> Any:
        """Attack a model.

        Args:
            model: the stolen `keras.Model`; it is not changed.
            data: what the attacker has: `(images, labels)`, or an `AttackData`.
            seed: makes it reproducible; Keras' global seed follows from it. Defaults to 0.

        Returns:
            The attacked `keras.Model`.

        Raises:
            AttackError: if this cannot be done to such a model.
        """
        seed_everything(seed)
        data = as_attack_data(data, model)
        copy = copy_of(model, data)
        if self.soften:
            _soften(copy)
        if self.reinitialise:
            initialise(last_layer(copy, data.num_classes))
        self.train(copy, model, data, seed)
        return copy

    def train(
        self,
        copy: Any,
        model: Any,
        data: AttackData,
        seed: int,
        callbacks: Sequence[Any] = (),
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        """Train a copy of the stolen model in place.

        Args:
            copy: the `keras.Model` to train.
            model: the stolen one, which predicts labels.
            data: what the attacker has.
            seed: makes it reproducible.
            callbacks: Keras callbacks for the training. Defaults to none.
            transform: a `tf.data` transformation of its batches. Defaults to `None`.
        """
        head = head_of(model, data)
        data = data.part(self.share, seed)
        if self.layers == "last":
            only = last_layer(copy, data.num_classes)
            for layer in layers_of(copy):
                layer.trainable = layer is only
        distributions = one_hot(data)
        if self.labels == "predicted":
            scores = scores_of(model, data.pixels, data.value_range)
            answers = head.distributions(scores).argmax(axis=1)
            distributions = distributions * 0
            distributions[range(len(data)), answers] = 1
        batch_size = self.batch_size or default_batch_size(len(data))
        train(
            copy, data.pixels, distributions, head=head, value_range=data.value_range,
            optimizer=self._optimizer(-(-len(data) // batch_size)), epochs=self.epochs,
            batch_size=batch_size, seed=seed, callbacks=callbacks, transform=transform,
            augment=self.augment,
        )  # fmt: skip

    def _optimizer(self, steps_per_epoch: int) -> Any:
        rate: Any = self.learning_rate
        if self.halve_every is not None:
            rate = keras.optimizers.schedules.ExponentialDecay(
                rate, self.halve_every * steps_per_epoch, 0.5, staircase=True
            )
        if self.optimizer == "adam":
            return keras.optimizers.Adam(rate, weight_decay=self.weight_decay)
        return keras.optimizers.SGD(rate, self.momentum, weight_decay=self.weight_decay)

    def __str__(self) -> str:
        layers = f"{self.layers} layer{'s' * (self.layers == 'all')}"
        new = {"all": ", last one new", "last": ", new"}[self.layers] * self.reinitialise
        labels = ", predicted labels" if self.labels == "predicted" else ""
        momentum = f", momentum {self.momentum:g}" if self.momentum else ""
        decay = f", decay {self.weight_decay:g}" if self.weight_decay else ""
        softened = "softened, " * self.soften
        optimizer = {"sgd": "SGD", "adam": "Adam"}[self.optimizer]
        halved = "" if self.halve_every is None else f" halved every {self.halve_every}"
        batches = "" if self.batch_size is None else f", batches of {self.batch_size}"
        data = "augmented data" if self.augment else "data"
        return (
            f"{softened}{layers}{new}{labels}, {optimizer} {self.learning_rate:g}{halved}"
            f"{momentum}{decay}, {self.epochs} epochs{batches}, {self.share:.0%} of {data}"
        )


def _soften(copy: Any) -> None:
    try:
        soften(copy)
    except InvalidArgumentError as error:
        raise AttackError(f"Nothing in this model can be softened. {error}") from None
