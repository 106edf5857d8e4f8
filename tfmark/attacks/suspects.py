"""What an attack made, as something that can be asked."""

from __future__ import annotations

from typing import Any

import keras

from tfmark.attacks.data import AttackData
from tfmark.endpoints import Endpoint
from tfmark.endpoints.dialect import Task
from tfmark.endpoints.in_memory import KerasModel
from tfmark.endpoints.service import Suspect
from tfmark.errors import InvalidArgumentError


def suspect_from(model: Any, data: AttackData) -> Endpoint:
    """A Keras model, or anything with a method `classify`, as an `Endpoint`.

    Raises:
        InvalidArgumentError: if it is neither.
    """
    if isinstance(model, keras.Model):
        return KerasModel(model, data.value_range, data.num_classes)
    if isinstance(model, Suspect):
        return model.about(Task(data.pixels.shape[1:], data.value_range, data.num_classes))
    if isinstance(model, Endpoint):
        return model
    raise InvalidArgumentError(
        "Expected an attack to give a Keras model or an object with a method `classify`. "
        f"Received: {type(model).__name__}"
    )
