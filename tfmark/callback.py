"""`tfmark.WatermarkCallback`: watches the watermark grow, and can embed it by itself."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfmark.batch_statistics import BatchStatistics, value_of
from tfmark.endpoints.in_memory import KerasModel, as_inputs
from tfmark.entanglement import Entanglement
from tfmark.errors import InvalidArgumentError
from tfmark.hardening import harden, multiply
from tfmark.key import WatermarkKey
from tfmark.statistics import power
from tfmark.trigger_batches import TriggerBatches
from tfmark.trigger_images import log_triggers

WATCHED = 192  # triggers whose answers are watched, about
ALPHA = 1e-9  # of `tfmark.verify` unless told otherwise
LIKELY = 0.95  # how probable it should be that a verification shows the watermark
LEAST_SHARE = 0.1  # of all steps on triggers in the training, against those on batches


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
    (NumPy arrays, generators, `PyDataset`), `inject_every=n` makes the callback train one step on
    triggers after every n batches. A trigger weighs as much in it as an image in a batch, but more
    where all such steps would weigh less than a tenth of those on batches; and no step weighs more
    than one on a batch. The epoch's metrics, `optimizer.iterations` and with it schedules of the
    learning rate, and the moving statistics of batch normalisation come out as without it.

    With `robust=True` marks are entangled with the classes: a second loss draws what the last layer
    reads of each image, triggers among them, towards other images of its label, so that a new last
    layer answers triggers as the old one did. The loss that is reported is your own. Then the model
    is hardened against fine-tuning, as by `tfmark.harden`: whatever is saved or kept of it when an
    epoch has ended, by callbacks behind this one as well, computes the same and is moved less by a
    thief's training. While an epoch lasts its weights have their usual size. Where the callback
    embeds, a few marks are fainter, as by `inject(robust=True)`; those of the unrelated scheme it
    only hardens.

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
        robust: whether to entangle marks and to harden the model; see `tfmark.harden` for which
            models can be. Put `BackupAndRestore` in front of this callback then, and
            `tfmark.soften(model)` before you train a saved model on. Defaults to `False`.
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
        self.key = key
        self.inject_every = inject_every
        self.batch_size = batch_size
        self.robust = robust
        self.label_mode = label_mode
        self.output = output
        self.seed = seed
        self.trigger_log_dir = trigger_log_dir
        self._watched = key.triggers(per_mark=max(1, WATCHED // key.spec.num_marks))
        self._batches = TriggerBatches(key, batch_size, robust, seed)
        self._one_hot = False  # known when training begins
        self._factors: dict[str, float] = {}  # by which layers are larger now than in training
        self._accuracy: float | None = None  # after the last epoch
        self._is_to_entangle = False
        self._entanglement: Entanglement | None = None
        self._statistics: BatchStatistics | None = None
        self._train_function: Any = None  # of steps on triggers
        self._last_batch = -1
        self._waiting = 0  # batches since the last step on triggers

    def on_train_begin(self, logs: Any = None) -> None:
        self._accuracy = self._train_function = None
        # Steps on foreign images alone are not to be drawn to the means of others: they lose by it.
        alone = self.inject_every is not None and self.key.spec.scheme == "unrelated"
        self._is_to_entangle = self.robust and not alone
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
        if self.key.spec.scheme == "unrelated":  # the key has no clean images then
            self._statistics = BatchStatistics(self.model)
        self._one_hot = (self.label_mode or _label_mode(self.model.loss, width)) == "categorical"

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._last_batch = -1
        if self._factors:
            multiply(self.model, {path: 1 / factor for path, factor in self._factors.items()})
            self._factors = {}
        if self.inject_every is not None:
            # It follows from the model, so that a training goes on as if it had not been cut.
            self._waiting = int(value_of(self.model.optimizer.iterations)) % self.inject_every

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._is_to_entangle and self.model.built:  # a subclassed one is after the first batch
            self._is_to_entangle = False
            self._entangle()
        due = self._waiting + self.model.steps_per_execution >= (self.inject_every or math.inf)
        if self._statistics is not None and due:
            self._statistics.begin()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.inject_every is None:
            return
        # `batch` advances by more than one where `steps_per_execution` is set.
        batches = batch - self._last_batch
        self._waiting += batches
        self._last_batch = batch
        steps, self._waiting = divmod(self._waiting, self.inject_every)
        for step in range(steps):
            self._train_on_triggers(step, batches)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["watermark_accuracy"] = self._accuracy = self.watermark_accuracy()
        if self.robust:
            self._harden()

    def on_train_end(self, logs: Any = None) -> None:
        if self._entanglement is not None:
            self._entanglement = self.model.train_function = None
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

    def _entangle(self) -> None:
        try:
            self._entanglement = Entanglement(self.model, self.key.spec.num_classes)
        except InvalidArgumentError as error:
            warnings.warn(f"With `robust=True`: cannot be entangled. {error}", stacklevel=2)
        else:
            self._entanglement.make_train_function()

    def _harden(self) -> None:
        try:
            self._factors = harden(self.model)
        except InvalidArgumentError as error:
            warnings.warn(f"With `robust=True`: cannot be hardened. {error}", stacklevel=2)

    def _train_on_triggers(self, step: int, batches: int) -> None:
        """One training step on triggers that leaves no other trace than in the weights."""
        model = self.model
        kept = [*model.metrics_variables, *model.non_trainable_variables]
        kept += _iterations(model.optimizer)
        if self._entanglement is not None:
            kept += self._entanglement.means
        before = [value_of(variable) for variable in kept]
        turn = int(value_of(model.optimizer.iterations)) // (self.inject_every or 1) + step
        triggers = self._batches.triggers(turn)
        images, labels = triggers.images, triggers.labels
        has_averages = any("moving_" in v.path for v in model.non_trainable_variables)
        if has_averages and self._statistics is None:
            images, labels = self._batches.among_clean_images(triggers, turn)
        weights = np.zeros(len(labels), np.float32)
        # The loss is the mean over all images; this undoes it.
        weights[: len(triggers)] = len(labels) / len(triggers) * self._share()
        targets: Any = labels
        if self._one_hot:
            targets = np.eye(self.key.spec.num_classes, dtype=np.float32)[labels]
        with self._normalised(batches):
            model.train_on_batch(as_inputs(model, images), targets, sample_weight=weights)
        for variable, value in zip(kept, before, strict=True):
            variable.assign(value)

    @contextlib.contextmanager
    def _normalised(self, batches: int) -> Iterator[None]:
        """Where there are no clean images, normalise triggers as the last batches were.

        It takes a train function of its own, as this is traced into it.
        """
        if self._statistics is None:
            yield
            return
        model = self.model
        whole, model.train_function = model.train_function, self._train_function
        try:
            with self._statistics.used(batches):
                yield
        finally:
            self._train_function, model.train_function = model.train_function, whole

    def _share(self) -> float:
        """What a step on triggers weighs, where one on a batch weighs 1."""
        loss = next((metric for metric in self.model.metrics if metric.name == "loss"), None)
        # Keras weighs the loss of a batch by the number of its images.
        images = float(value_of(loss.count)) if isinstance(loss, keras.metrics.Mean) else 0.0
        in_batch = images / (self._last_batch + 1) or self.batch_size
        return min(1.0, max(self.batch_size / in_batch, LEAST_SHARE * (self.inject_every or 1)))


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
