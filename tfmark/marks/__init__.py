"""The kinds of mark: one file each, with a `draw(spec, index, stream)` that returns an `Affine`."""

from __future__ import annotations

from tfmark.derivation import Stream
from tfmark.marks import content, noise, unrelated
from tfmark.marks.affine import Affine
from tfmark.spec import Spec

_DRAW = {"content": content.draw, "unrelated": unrelated.draw, "noise": noise.draw}


def draw(spec: Spec, index: int, stream: Stream) -> Affine:
    """Draw the pattern of mark `index` from its secret stream."""
    return _DRAW[spec.scheme](spec, index, stream)
