"""`tfmark.WatermarkCallback`: watches the watermark grow, and can embed it by itself."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from tfmark.endpoints.in_memory import KerasModel, as_inputs
from tfmark.errors import InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.robust_embedding import ThiefAhead, check_backend
from tfmark.trigger_images import log_triggers
from tfmark.triggers import TriggerSet

WATCHED = 192  # triggers whose answers are watched, about
CLEAN_PER_TRIGGER = 3  # clean images beside each trigger, for the sake of batch normalisation
LEARNED = 0.9  # watermark accuracy from which marks are hardened; before, it would hinder them
THIEF_BATCH = 64  # clean images that a thief's step is taken on


class WatermarkCallback(keras.callbacks.Callback):
    """Callback that reports the watermark accuracy, and embeds the watermark if asked to.

    At the end of each epoch `logs["watermark_accuracy"]` is the share of triggers that the model
    answers with their label, on base images that the key keeps for verification. The progress bar,
    `History` and `TensorBoard` show it. `ModelCheckpoint` and `EarlyStopping` can monitor it: put
    them behind this callback and give them `mode="max"`. Keras Tuner can search for it, with
    `keras_tuner.Objective("watermark_accuracy", "max")`. A training that `BackupAndRestore` takes
    up goes on as if it had not been cut.

    The better way to embed is `tfmark.inject`, in the `tf.data` pipeline. Where there is none
    (NumPy arrays, generators, `PyDataset`), `inject_every=n` makes the callback train one step on
    triggers after every n batches. The epoch's metrics, `optimizer.iterations` and with it
    schedules of the learning rate, and the moving statistics of batch normalisation come out as
    without it.

    With `robust=True` each of these steps is taken where a thief's fine-tuning would have moved the
    weights, and its effect kept where they are. That begins with the epoch after the one that ends
    with 90 % watermark accuracy. It is an experiment: in one small comparison marks outlived
    fine-tuning better so, in another not (docs/robust-embedding.md). Such a step costs about one
    and a half on `4 * batch_size` images.

    Example:
    ```python
    watermark = tfmark.WatermarkCallback(key, inject_every=2)
    model.fit(x_train, y_train, batch_size=32, epochs=5, callbacks=[watermark])
    ```

    Args:
        key: the `tfmark.WatermarkKey`.
        inject_every: number of batches between two training steps on triggers. Defaults to `None`,
            no embedding.
        batch_size: number of triggers in such a step. Defaults to 32.
        robust: whether to learn marks where fine-tuning would lead. Needs `inject_every`, and Keras
            on TensorFlow. Defaults to `False`.
        clean_images: array of shape (n, *image_shape) of ordinary images as they enter the model,
            at least 64, that the thief's step is taken on and batch normalisation sees beside the
            triggers. Defaults to `None`, the key's base images; those of the "unrelated" scheme are
            foreign, so `robust=True` needs others there.
        label_mode: what the loss expects of labels: "int" (class ids) or "categorical" (one-hot).
            Defaults to `None`, told from the loss and the number of outputs.
        output: name or position of the output with the class scores, if the model has several.
            Defaults to `None`, the only one with as many scores as the key has classes.
        seed: makes the choice of base images reproducible. Defaults to 0.
        trigger_log_dir: folder in which TensorBoard (the package `tensorboard`) finds one trigger
            of each mark, as training sees it, under "watermark_triggers". These images give the
            marks away: whoever sees them can remove the watermark. Keep the folder as you keep the
            key. Defaults to `None`, no images.

    Raises:
        InvalidArgumentError: if a value cannot work, at once or when training begins.
        ImportError: if TensorBoard is wanted and not installed, when training begins.
        AnswerError: if the model's answers are no classes of the key, when an epoch ends.
    """

    def __init__(
        self,
        key: WatermarkKey,
        inject_every: int | None = None,
        batch_size: int = 32,
        robust: bool = False,
        clean_images: Any = None,
        label_mode: str | None = None,
        output: str | None = None,
        seed: int = 0,
        trigger_log_dir: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        for name, value in (("inject_every", inject_every), ("batch_size", batch_size)):
            if not (value is None or (isinstance(value, int) and value > 0)):
                raise InvalidArgumentError(
                    f"Invalid value for argument `{name}`. Expected a positive number. "
                    f"Received: {name}={value!r}"
                )
        if label_mode not in (None, "int", "categorical"):
            raise InvalidArgumentError(
                "Invalid value for argument `label_mode`. Expected 'int' or 'categorical'. "
                f"Received: label_mode={label_mode!r}"
            )
        if robust:
            check_backend()
            if inject_every is None:
                raise InvalidArgumentError(
                    "`robust=True` needs `inject_every`: robust marks are embedded by the callback."
                )
        self.key = key
        self.inject_every = inject_every
        self.batch_size = batch_size
        self.robust = robust
        self.clean_images = clean_images
        self.label_mode = label_mode
        self.output = output
        self.seed = seed
        self.trigger_log_dir = trigger_log_dir
        self._watched = key.triggers(per_mark=max(1, WATCHED // key.spec.num_marks))
        self._clean = _clean_pool(key, clean_images, robust)
        self._one_hot = False  # known when training begins
        self._thief: ThiefAhead | None = None
        self._learned: bool | None = False  # the marks, so that they can be hardened
        self._last_batch = -1
        self._waiting = 0  # batches since the last step on triggers

    def on_train_begin(self, logs: Any = None) -> None:
        self._learned = None  # not known yet
        if self.trigger_log_dir is not None:
            log_triggers(self.key, self.trigger_log_dir)
        if self.inject_every is None:
            return
        if getattr(self.model.optimizer, "gradient_accumulation_steps", None):
            raise InvalidArgumentError(
                "`inject_every` cannot be used with an optimizer that accumulates gradients: a "
                "step on triggers would fall into the middle of a sum. Use `tfmark.inject` instead."
            )
        outputs = getattr(self.model, "output_shape", None)
        width = outputs[-1] if isinstance(outputs, tuple) else None
        self._one_hot = (self.label_mode or _label_mode(self.model.loss, width)) == "categorical"
        if self.robust:
            self._thief = ThiefAhead(self.model, self._one_hot, self.seed)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._last_batch = -1
        if self.inject_every is None:
            return
        # All of it follows from the model, so that a training goes on as if it had not been cut.
        self._waiting = int(_read(self.model.optimizer.iterations)) % self.inject_every
        if self.robust and self._learned is None:
            self._learned = epoch > 0 and self.watermark_accuracy() >= LEARNED

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.inject_every is None:
            return
        # `batch` advances by more than one where `steps_per_execution` is set.
        self._waiting += batch - self._last_batch
        self._last_batch = batch
        steps, self._waiting = divmod(self._waiting, self.inject_every)
        for step in range(steps):
            self._train_on_triggers(step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        accuracy = self.watermark_accuracy()
        self._learned = bool(self._learned) or accuracy >= LEARNED
        if logs is not None:
            logs["watermark_accuracy"] = accuracy

    def watermark_accuracy(self) -> float:
        """Share of the watched triggers that the model answers with their label now.

        Returns:
            A number from 0 to 1. An innocent model is at 1 / K.
        """
        classes = self.key.spec.num_classes
        suspect = KerasModel(self.model, self.key.value_range, classes, self.output)
        return float(np.mean(suspect.classify(self._watched.pixels) == self._watched.labels))

    def _train_on_triggers(self, step: int) -> None:
        """One training step on triggers that leaves no other trace than in the weights."""
        model = self.model
        kept = [*model.metrics_variables, *model.non_trainable_variables]
        kept += _iterations(model.optimizer)
        before = [_read(variable) for variable in kept]
        turn = int(_read(model.optimizer.iterations)) // (self.inject_every or 1) + step
        triggers = self._some_triggers(turn)
        images, labels = triggers.images, triggers.labels
        weights = None
        if any("moving_" in variable.path for variable in model.non_trainable_variables):
            images, labels, weights = self._among_clean_images(triggers, turn)
        targets: Any = labels
        if self._one_hot:
            targets = np.eye(self.key.spec.num_classes, dtype=np.float32)[labels]
        with self._thief_ahead(turn):
            model.train_on_batch(as_inputs(model, images), targets, sample_weight=weights)
        for variable, value in zip(kept, before, strict=True):
            variable.assign(value)

    def _thief_ahead(self, turn: int) -> AbstractContextManager[None]:
        if self._thief is None or not self._learned:
            return nullcontext()
        images = self._some_clean_images(THIEF_BATCH, turn, 1)
        return self._thief.after_a_step_on(as_inputs(self.model, images), turn)

    def _some_triggers(self, turn: int) -> TriggerSet:
        """The triggers of one step. It follows from the turn, so a resumed training goes on."""
        first = turn * self.batch_size
        indices = np.arange(first, first + self.batch_size) % self.key.spec.num_marks
        draw = np.random.default_rng([self.seed, turn])
        slots = draw.integers(self.key.spec.base_per_group, size=self.batch_size)
        return self.key.render(indices, slots, "embedding")

    def _among_clean_images(self, triggers: TriggerSet, turn: int) -> tuple[Any, Any, Any]:
        """Triggers among clean images of weight 0.

        Batch normalisation then sees about what it sees in use. The weights undo that the loss is
        the mean over all images.
        """
        clean = self._some_clean_images(CLEAN_PER_TRIGGER * len(triggers), turn, 0)
        labels = np.concatenate([triggers.labels, np.zeros(len(clean), np.int64)])
        weights = np.zeros(len(labels), np.float32)
        weights[: len(triggers)] = len(labels) / len(triggers)
        return np.concatenate([triggers.images, clean]), labels, weights

    def _some_clean_images(self, count: int, turn: int, purpose: int) -> Any:
        draw = np.random.default_rng([self.seed, turn, purpose])
        return self._clean[draw.choice(len(self._clean), min(count, len(self._clean)), False)]


def _clean_pool(key: WatermarkKey, clean_images: Any, robust: bool) -> Any:
    """Clean images to choose from."""
    if clean_images is None:
        if robust and key.spec.scheme == "unrelated":
            raise InvalidArgumentError(
                "`robust=True` needs `clean_images` for the unrelated scheme: the key's base "
                "images are foreign there. Expected images such as `x_train[:1024]`. Received: None"
            )
        return key.clean_images(key.base_images.shape[0] * key.base_images.shape[1])
    images = np.asarray(clean_images)
    if images.shape[1:] != key.spec.image_shape or len(images) < THIEF_BATCH:
        raise InvalidArgumentError(
            f"Invalid value for argument `clean_images`. Expected at least {THIEF_BATCH} images of "
            f"shape {key.spec.image_shape}. Received: shape {images.shape}"
        )
    return images.astype(np.float32)


def _read(variable: Any) -> Any:
    """A copy of the value of a variable as an array, of a mirrored one as well."""
    return np.copy(variable.numpy())


def _iterations(optimizer: Any) -> list[Any]:
    """The counters of steps: those of the optimizer and of the one it may be wrapped around."""
    wrapped = getattr(optimizer, "inner_optimizer", None)
    return [optimizer.iterations, *(_iterations(wrapped) if wrapped is not None else [])]


def _label_mode(loss: Any, width: int | None) -> str:
    """What a loss expects of labels, where the model has so many outputs."""
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    name = str(name).lower()
    if "sparse" in name or ("binary" in name and width == 1):
        return "int"
    if "categorical" in name or ("binary" in name and width is not None):
        return "categorical"
    raise InvalidArgumentError(
        "Cannot tell from the loss what labels it expects. Pass `label_mode='int'` or "
        f"`label_mode='categorical'`. Received: loss={loss!r}"
    )
