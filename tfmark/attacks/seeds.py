"""Seeds of an attack."""

from __future__ import annotations

import keras
import numpy as np

THIEF = 0x7468696566  # apart from the seeds that owners use


def seed_everything(seed: int) -> None:
    """Set Keras' global seed to one that follows from `seed`, but is not it.

    An owner who trained with seed 0 and attacks with seed 0 would otherwise give surrogates the
    initial weights of the stolen model, which no thief has.
    """
    keras.utils.set_random_seed(int(np.random.SeedSequence([seed, THIEF]).generate_state(1)[0]))
