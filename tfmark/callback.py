"""`tfmark.WatermarkCallback`: watches the watermark grow, and can embed it by itself."""

from __future__ import annotations

import os
import warnings
from typing import Any

import keras
import numpy as np

from tfmark.embedding_steps import EmbeddingSteps
from tfmark.endpoints.in_memory import KerasModel
from tfmark.errors import InvalidArgumentError
from tfmark.hardening import hardening_factors
from tfmark.key import WatermarkKey
from tfmark.resizing import CompiledFunctions, recompile
from tfmark.statistics import power
from tfmark.trigger_dose import TriggerDose, trigger_dose
from tfmark.trigger_images import log_triggers

WATCHED = 192  # triggers whose answers are watched, about
ALPHA = 1e-9  # of `tfmark.verify` unless told otherwise
LIKELY = 0.95  # how probable it should be that a verification shows the watermark


class WatermarkCallback(keras.callbacks.Callback):
    """Callback that reports the watermark accuracy, and embeds the watermark if asked to.

    At the end of each epoch `logs["watermark_accuracy"]` is the share of triggers that the model
    answers with their label, on base images that the key keeps for verification. The progress bar,
    `History` and `TensorBoard` show it. `ModelCheckpoint` and `EarlyStopping` can monitor it: put
    them behind this callback and give them `mode="max"`. Keras Tuner can search for it, with
    `keras_tuner.Objective("watermark_accuracy", "max")`. A training that `BackupAndRestore` takes
    up goes on as if it had not been cut, but for the means of the classes that `robust=True` takes,
    which begin anew. When training ends with too few marks learned for `tfmark.verify` to show
    them, the callback warns.

    The better way to embed is `tfmark.inject`, in the `tf.data` pipeline. Where there is none
    (NumPy arrays, generators, `PyDataset`), `inject_every=n` makes the callback add triggers to
    every n-th batch, inside of the model's training step: images of the batch itself with a mark on
    them (of the "unrelated" scheme: foreign images). All marks come up equally often, and images
    that the key keeps for verification are never marked, unless a batch has no others. Triggers
    count in the epoch's loss, and not in its metrics. With `steps_per_execution`, executions count
    instead of batches.

    With `robust=True` marks are entangled with the classes: a second loss draws what the last layer
    reads of each image, triggers among them, towards other images of its label, so that a new last
    layer answers triggers as the old one did. The loss that is reported is your own. Then the model
    is hardened against fine-tuning, as by `tfmark.harden`: whatever is saved or kept of it when an
    epoch has ended, by callbacks behind this one as well, computes the same and is moved less by a
    thief's training. While an epoch lasts its weights have their usual size. Where the callback
    embeds, some marks are fainter and some triggers moved, as by `inject(robust=True)`. It adds
    them behind whatever augments your batches: let layers of the model augment then.

    Example:
    ```python
    watermark = tfmark.WatermarkCallback(key, inject_every=1)
    model.fit(x_train, y_train, batch_size=32, epochs=5, callbacks=[watermark])
    ```

    Args:
        key: the `tfmark.WatermarkKey`.
        inject_every: n, where triggers go to every n-th batch. Defaults to `None`, no embedding.
        ratio: number of triggers for each clean image in the whole training, above 0 up to 1; a
            batch gets n times as many, but no more than it has images. Defaults to `None`: 0.03,
            and more in a short training, up to 0.5, so that each mark is seen 250 times. If
            `robust`, also up to 0.1, so that it is seen 1000 times.
        robust: whether to entangle marks and to harden the model; see `tfmark.harden` for which
            models can be. Put `BackupAndRestore` in front of this callback then, and
            `tfmark.soften(model)` before you train a saved model on. Defaults to `False`.
        output: name or position of the output with the class scores, if the model has several.
            Defaults to `None`, the only one with as many scores as the key has classes.
        seed: makes the choice of marks and images reproducible. Defaults to 0.
        trigger_log_dir: folder in which TensorBoard (the package `tensorboard`) finds one trigger
            of each mark, as training sees it, under "watermark_triggers". These images give the
            marks away: whoever sees them can remove the watermark. Keep the folder as you keep the
            key. Defaults to `None`, no images.

    Raises:
        InvalidArgumentError: if a value cannot work; with `inject_every`, if batches are none of
            the key's images and labels; with it or `robust`, if Keras' backend is not TensorFlow.
        ImportError: if TensorBoard is wanted and not installed, when training begins.
        AnswerError: if the model's answers are no classes of the key, when an epoch ends.
    """

    def __init__(
        self,
        key: WatermarkKey,
        inject_every: int | None = None,
        ratio: float | None = None,
        robust: bool = False,
        output: str | None = None,
        seed: int = 0,
        trigger_log_dir: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        if not (inject_every is None or (isinstance(inject_every, int) and inject_every > 0)):
            raise InvalidArgumentError(
                "Invalid value for argument `inject_every`. Expected a positive number of batches. "
                f"Received: inject_every={inject_every!r}"
            )
        if not (ratio is None or 0 < ratio <= 1):
            raise InvalidArgumentError(
                "Invalid value for argument `ratio`. Expected a number above 0 and up to 1. "
                f"Received: ratio={ratio!r}"
            )
        self.key = key
        self.inject_every = inject_every
        self.ratio = ratio
        self.robust = robust
        self.output = output
        self.seed = seed
        self.trigger_log_dir = trigger_log_dir
        self._watched = key.triggers(per_mark=max(1, WATCHED // key.spec.num_marks))
        self._factors: dict[str, float] = {}  # by which layers are larger now than in training
        self._accuracy: float | None = None  # after the last epoch
        self._dose = self._dose_for(None)
        self._steps: EmbeddingSteps | None = None  # made when the model is built

    def on_train_begin(self, logs: Any = None) -> None:
        self._accuracy = None
        self._functions = CompiledFunctions(self.model)
        if self.trigger_log_dir is not None:
            log_triggers(self.key, self.trigger_log_dir)
        if self._changes_steps() and keras.backend.backend() != "tensorflow":
            raise InvalidArgumentError(
                "`inject_every` and `robust` change the training steps of Keras' TensorFlow "
                "backend. Embed with `tfmark.inject`, which does not need it. "
                f"Received: the backend {keras.backend.backend()!r}"
            )
        if self.inject_every is not None:
            epochs, steps = self.params.get("epochs"), self.params.get("steps")
            replicas = self.model.distribute_strategy.num_replicas_in_sync
            self._dose = self._dose_for(epochs * steps * replicas if epochs and steps else None)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._factors:
            self._functions.multiply({path: 1 / size for path, size in self._factors.items()})
            self._factors = {}
        if self._steps is not None:
            self._steps.begin_epoch()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._changes_steps() and self.model.built:  # a subclassed one is after the first batch
            if self._steps is None or not self._steps.are_of(self.model, self._dose):
                self._steps = EmbeddingSteps(
                    self.model, self.key, self.inject_every, self._dose, self.robust, self.seed
                )
            self._steps.begin_step()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["watermark_accuracy"] = self._accuracy = self.watermark_accuracy()
        if self.robust:
            self._harden()

    def on_train_end(self, logs: Any = None) -> None:
        if self._factors:
            recompile(self.model)
        spec, accuracy = self.key.spec, self._accuracy
        if accuracy is None:  # a training taken up that was at its end
            return
        shown = power(spec.num_marks, spec.num_classes, ALPHA, accuracy)
        if shown < LIKELY:
            warnings.warn(
                f"Training ended before the watermark was learned: the model gives {accuracy:.0%} "
                f"of the triggers their label, and `tfmark.verify` would find it owned at alpha = "
                f"{ALPHA:g} with a probability of {shown:.0%}. Train longer, show triggers more "
                "often (`ratio`, `inject_every`), or take another scheme.",
                stacklevel=2,
            )

    def watermark_accuracy(self) -> float:
        """Share of the watched triggers that the model answers with their label now.

        Returns:
            A number from 0 to 1. An innocent model is at 1 / K.
        """
        classes = self.key.spec.num_classes
        suspect = KerasModel(self.model, self.key.value_range, classes, self.output)
        return float(np.mean(suspect.classify(self._watched.pixels) == self._watched.labels))

    def _changes_steps(self) -> bool:
        return self.inject_every is not None or self.robust

    def _dose_for(self, steps: int | None) -> TriggerDose:
        every, marks = self.inject_every or 1, self.key.spec.num_marks
        return trigger_dose(self.ratio, self.robust, every, marks, steps)

    def _harden(self) -> None:
        try:
            self._factors = hardening_factors(self.model)
        except InvalidArgumentError as error:
            warnings.warn(f"With `robust=True`: cannot be hardened. {error}", stacklevel=2)
            return
        self._functions.multiply(self._factors)
