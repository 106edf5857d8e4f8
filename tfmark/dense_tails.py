"""The last normalisation and the dense layers behind it: how sizes are shifted along them.

What nothing normalises any more cannot get a size of its own: what one of these is multiplied by,
another must be divided by.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any, NamedTuple

import keras
import numpy as np

from tfmark.model_sizes import Sizes, Step, offset_of, scale_of


class Tail(NamedTuple):
    """Normalisations, and rows of dense layers that follow with nothing but ReLU and the like.

    Attributes:
        sizes: of what the normalisations give, and of what each row gives but the last, by number.
        norms: the layers that give the first of them.
        rows: dense layers. One makes a row, but the last row may have several beside each other.
    """

    sizes: list[int]
    norms: list[Any]
    rows: list[list[Any]]


def tails_of(sizes: Sizes) -> list[Tail]:
    """The tails of a model: all normalisations that some dense layer follows to the end."""
    found = []
    for size in sorted({step.given for step in sizes.steps if step.is_norm}):
        givers = _givers(sizes, size)
        rows = [] if sizes.fades(size) else _rows(sizes, size)
        if rows and all(step.is_norm for step in givers):
            between = [size, *(row[0].given for row in rows[:-1])]
            layers = [[step.layer for step in row] for row in rows]
            found.append(Tail(between, [step.layer for step in givers], layers))
    return found


def balanced(tail: Tail) -> list[float]:
    """The factor for each size at which a step on all of them moves the scores least.

    A step on scales moves them by the squares of all kernels behind, one on a kernel by the squares
    of what it takes and of the kernels behind it. Behind ReLU half of that is left, of values as of
    gradients. Factors multiply some of these and divide others, so that their product stays as it
    is. Their sum is least where they are equal.
    """
    kernels = [[_array(layer.kernel) for layer in row] for row in tail.rows]
    gains = [sum(np.sum(kernel**2) / kernel.shape[1] for kernel in row) for row in kernels]
    values = [sum(map(_square_of, tail.norms)) / 2]  # mean squares, taken by each row
    for gain in gains[:-1]:
        values.append(values[-1] * gain / 2)
    behind = [gains[-1]]  # squares of gradients of the scores by what each row takes, summed
    for gain in reversed(gains[:-1]):
        behind.insert(0, behind[0] * gain / 2)
    moved = [behind[0]]
    for row, value, after in itertools.zip_longest(kernels, values, behind[1:]):
        moved.append(sum(map(len, row)) * value * (1 if after is None else after / 2))
    if not all(0 < each < math.inf for each in moved):
        return [math.nan] * len(tail.sizes)
    mean = math.exp(np.mean(np.log(moved)))
    factors = [math.sqrt(moved[0] / mean)]
    for each in moved[1:-1]:
        factors.append(factors[-1] * math.sqrt(each / mean))
    return factors


def evened(tail: Tail) -> list[float]:
    """The factor for each size at which scales have size 1, and kernels in a row one length."""
    factors = [1 / size_of(tail.norms)]
    lengths = [math.sqrt(np.mean([_square_length(layer) for layer in row])) for row in tail.rows]
    lengths[0] /= factors[0]
    if min(lengths) > 0:
        mean = math.exp(np.mean(np.log(lengths)))
        factors += itertools.accumulate((mean / each for each in lengths[:-1]), operator.mul)
    return factors + [math.nan] * (len(tail.sizes) - len(factors))


def size_of(norms: list[Any]) -> float:
    """The root of the mean square of their scales; NaN if all are zero."""
    return math.sqrt(np.mean([np.mean(_array(scale_of(norm)) ** 2) for norm in norms])) or math.nan


def _rows(sizes: Sizes, size: int) -> list[list[Step]]:
    """What takes a size and does not let it fade; nothing if that is not dense to the end."""
    row = [step for step in sizes.takers(size) if not (step.is_norm or sizes.fades(step.given))]
    if not row or not all(isinstance(step.layer, keras.layers.Dense) for step in row):
        return []
    if all(step.given in sizes.fixed for step in row):
        return [row]
    given = row[0].given
    behind = _rows(sizes, given) if _givers(sizes, given) == row else []
    return [row, *behind] if behind else []


def _givers(sizes: Sizes, size: int) -> list[Step]:
    return [step for step in sizes.steps if step.given == size]


def _square_of(norm: Any) -> Any:
    variables = [each for each in (scale_of(norm), offset_of(norm)) if each is not None]
    return sum(np.mean(_array(each) ** 2) for each in variables)


def _square_length(layer: Any) -> Any:
    """The mean square of the lengths of its filters."""
    kernel = _array(layer.kernel)
    return np.sum(kernel**2) / kernel.shape[-1]


def _array(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable).astype(np.float64)
