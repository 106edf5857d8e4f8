"""What pages take for granted: an owner's key, images, and a watermarked model that is exported."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

from tests.small_models import fitted, small_digits, small_key, small_network


def put_here() -> None:
    """Write owner.tfmark, images.npz, model.keras and served/digits/1 into this folder."""
    shutil.copytree(_made(), Path.cwd(), dirs_exist_ok=True)


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tfmark-pages-"))
    atexit.register(shutil.rmtree, folder)
    keras.utils.set_random_seed(0)
    key = small_key()
    key.save(folder / "owner.tfmark")
    x_train, y_train, *_ = small_digits()
    np.savez(folder / "images.npz", images=x_train, labels=y_train)
    model = fitted(small_network(), key, epochs=9)
    model.save(folder / "model.keras")
    model.export(folder / "served" / "digits" / "1", verbose=False)
    return folder
