"""The training steps of a model while the callback embeds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tfmark.entanglement import Entanglement
from tfmark.errors import InvalidArgumentError
from tfmark.key import WatermarkKey
from tfmark.step_injection import StepInjection
from tfmark.train_functions import Change, changed_train_function, once
from tfmark.trigger_dose import TriggerDose


class EmbeddingSteps:
    """Training steps with triggers in every n-th batch, with entanglement, or with both.

    Args:
        model: a built and compiled `keras.Model`.
        key: the `tfmark.WatermarkKey`.
        every: n; `None` for no triggers.
        dose: how many triggers go to such a batch.
        robust: whether to entangle, and to make some marks fainter and move some triggers.
        seed: makes the choice of marks and images reproducible.
    """

    def __init__(
        self,
        model: Any,
        key: WatermarkKey,
        every: int | None,
        dose: TriggerDose,
        robust: bool,
        seed: int,
    ):
        self._model = model
        self._dose = dose
        self._own = model.train_function
        self._every = every
        self._seed = seed
        changes = _entanglement(model, key) if robust else []
        self._without = changed_train_function(model, changes)
        if every is not None:
            self._injection = StepInjection(model, key, dose, robust, seed)
            self._with = changed_train_function(model, [*changes, self._injection.in_place])
        self.begin_epoch()

    def are_of(self, model: Any, dose: TriggerDose) -> bool:
        """Whether they still are what they were made for: Keras' own would be traced again, too."""
        return model is self._model and model.train_function is self._own and dose == self._dose

    def begin_epoch(self) -> None:
        """Say that an epoch begins. What comes follows from the model, so a training can go on."""
        done = int(self._model.optimizer.iterations.numpy())
        self._turn = done // self._model.steps_per_execution
        if self._every is not None:
            self._injection.begin(int(np.random.default_rng([self._seed, done]).integers(2**31)))

    def begin_step(self) -> None:
        """Say that a step, or an execution of several, begins."""
        is_due = self._every is not None and self._turn % self._every == 0
        once(self._model, self._with if is_due else self._without)
        self._turn += 1


def _entanglement(model: Any, key: WatermarkKey) -> list[Change]:
    try:
        return [Entanglement(model, key.spec.num_classes).in_place]
    except InvalidArgumentError as error:
        warnings.warn(f"With `robust=True`: cannot be entangled. {error}", stacklevel=2)
        return []
