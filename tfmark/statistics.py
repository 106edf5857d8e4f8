"""When is a match proof? The sequential test, its power, and the exact binomial tail.

The label of each mark is uniform over K classes and unknown to whoever made the suspect. So, if
the suspect was made without the key, each answer matches with probability exactly 1/K,
independently of all others, whatever the suspect does. Against that null hypothesis a bet that the
watermark accuracy is q multiplies its stake by q*K on a match and by (1-q)*K/(K-1) on a miss. The
evidence M is the mean stake over a few values of q. Its expectation under the null is 1 after every
answer, so by Ville's inequality P(M ever reaches 1/alpha) <= alpha: one may look after each answer
and stop at will
(Ville 1939; Shafer, "Testing by betting", JRSS A 2021). Mixing over q is Robbins' mixture test.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tfmark.errors import InvalidArgumentError

BETS = (0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.97)
WEAKEST = 0.6  # suspects that answer this share of their triggers are not to be missed,
FUTILITY = 1e-3  # apart from this share of them, for the sake of stopping early
MAX_DEFAULT_MARKS = 256

Counts = int | npt.NDArray[np.int64]


def log_evidence(matches: Counts, queries: int, num_classes: int) -> npt.NDArray[np.float64]:
    """Natural logarithm of the evidence M.

    Args:
        matches: number of matches so far, or an array of such numbers.
        queries: number of answers so far.
        num_classes: number of classes K, at least 2.

    Returns:
        An array of the shape of `matches`.
    """
    bets = [q for q in BETS if q > 1 / num_classes]
    stakes = [_log_likelihood_ratio(q, matches, queries, num_classes) for q in bets]
    mixture: npt.NDArray[np.float64] = np.logaddexp.reduce(stakes, axis=0) - math.log(len(bets))
    return mixture


@lru_cache(maxsize=1 << 16)
def evidence_of(matches: int, queries: int, num_classes: int) -> float:
    """`log_evidence` of single counts, kept: a scan asks for the same few again and again."""
    return float(log_evidence(matches, queries, num_classes))


def matches_to_prove(matches: int, queries: int, num_classes: int, alpha: float) -> int:
    """How many further answers would be enough for `alpha`, if all of them matched."""
    further = 0
    while evidence_of(matches + further, queries + further, num_classes) < -math.log(alpha):
        further += 1
    return further


def is_hopeless(
    matches: Counts, queries: int, num_marks: int, num_classes: int, alpha: float
) -> npt.NDArray[np.bool_]:
    """Whether asking on is in vain.

    Either the remaining marks cannot reach `alpha` even if all of them match, or the answers so far
    are `1 / FUTILITY` times more likely by chance than at a watermark accuracy of `WEAKEST` (Wald's
    lower bound). Neither changes the error rate `alpha`.
    """
    at_best = log_evidence(matches + (num_marks - queries), num_marks, num_classes)
    ratio = _log_likelihood_ratio(WEAKEST, matches, queries, num_classes)
    hopeless: npt.NDArray[np.bool_] = (at_best < -math.log(alpha)) | (ratio <= math.log(FUTILITY))
    return hopeless


def binomial_tail(matches: int, queries: int, num_classes: int) -> float:
    """Exact probability of at least `matches` matches in `queries` answers by chance alone."""
    ways = sum(
        math.comb(queries, m) * (num_classes - 1) ** (queries - m)
        for m in range(matches, queries + 1)
    )
    return float(Fraction(ways, num_classes**queries))


def power(num_marks: int, num_classes: int, alpha: float, accuracy: float) -> float:
    """Exact probability that a suspect is found `owned`, with early stopping as in `verify`.

    Args:
        num_marks: number of marks that may be asked.
        num_classes: number of classes K.
        alpha: error rate of the test.
        accuracy: the suspect's watermark accuracy, 0 to 1.

    Returns:
        The probability, 0 to 1.
    """
    matches = np.arange(num_marks + 1)
    undecided = np.zeros(num_marks + 1)  # probability of each number of matches
    undecided[0] = 1.0
    proved = 0.0
    for queries in range(1, num_marks + 1):
        undecided = undecided * (1 - accuracy) + np.roll(undecided, 1) * accuracy
        reached = (matches <= queries) & (
            log_evidence(matches, queries, num_classes) >= -math.log(alpha)
        )
        proved += undecided[reached].sum()
        undecided[reached | is_hopeless(matches, queries, num_marks, num_classes, alpha)] = 0.0
    return float(proved)


def default_num_marks(num_classes: int) -> int:
    """How many marks a key holds unless told otherwise.

    The smallest multiple of 8 with which a suspect at 60 % watermark accuracy is found `owned` at
    alpha = 1e-9 with a probability of at least 95 %: 232 for 3 classes, 96 for 5, 48 for 10, 24 for
    100. With two classes 60 % is hardly more than chance and would take some 2,000 marks; there the
    number stops at 256, which needs a watermark accuracy of 75 %.

    Example:
    ```python
    >>> tfmark.default_num_marks(10), tfmark.default_num_marks(100)
    (48, 24)
    ```

    Args:
        num_classes: number of classes K, at least 2.

    Returns:
        The number of marks, at most 256.

    Raises:
        InvalidArgumentError: if there are fewer than two classes.
    """
    if type(num_classes) is not int or num_classes < 2:
        raise InvalidArgumentError(
            "Invalid value for argument `num_classes`. Expected a number from 2 up. "
            f"Received: num_classes={num_classes!r}"
        )
    return _default_num_marks(num_classes)


@lru_cache
def _default_num_marks(num_classes: int) -> int:
    for num_marks in range(8, MAX_DEFAULT_MARKS, 8):
        if power(num_marks, num_classes, alpha=1e-9, accuracy=WEAKEST) >= 0.95:
            return num_marks
    return MAX_DEFAULT_MARKS


def _log_likelihood_ratio(
    q: float, matches: Counts, queries: int, num_classes: int
) -> npt.NDArray[np.float64]:
    match = math.log(q * num_classes)
    miss = math.log((1 - q) * num_classes / (num_classes - 1))
    return np.asarray(matches * match + (queries - matches) * miss)
