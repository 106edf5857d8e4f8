"""A key of the thief's own: marks of the owner's kind, made anew."""

from __future__ import annotations

import numpy as np

from tfmark.attacks.data import AttackData
from tfmark.errors import AttackError, InvalidArgumentError
from tfmark.key import WatermarkKey

SCHEMES = ("content", "unrelated", "noise")
TEXT = "ME"  # short, to fit on small images
MOST_BASES = 512


def second_key(
    scheme: str, data: AttackData, seed: int, most_marks: int | None = None
) -> WatermarkKey:
    """Make a key of what the attacker has: the same data and seed give the same one.

    Args:
        scheme: one of `SCHEMES`.
        data: what the attacker has.
        seed: that of the attack.
        most_marks: number of marks, or fewer where there are too few images. Defaults to `None`,
            what a key has unless told otherwise.

    Raises:
        AttackError: if there are too few images, or of a shape that takes no such marks.
    """
    images = data.part(1, seed).pixels[:MOST_BASES]
    try:
        return WatermarkKey.generate(
            scheme=scheme,
            image_shape=images.shape[1:],
            num_classes=data.num_classes,
            base_images=images,
            num_marks=None if most_marks is None else min(most_marks, max(1, len(images) // 2)),
            value_range=data.value_range,
            text=TEXT if scheme == "content" else None,
            secret=np.random.default_rng([seed, 3]).bytes(32),
        )
    except InvalidArgumentError as error:
        raise AttackError(f"No second key can be made: {error}") from None
