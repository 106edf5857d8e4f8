"""The thorough question: towards which class each mark moves a suspect's answers.

A thief can train a model until it no longer answers with the labels of marks. Mostly it goes on
leaning towards them: where a mark is added, the score of its label grows, if only from 0.001 to
0.01. So all marks are put on the same images, and for each image and each class the marks are
ranked by how high that class scored. How a mark stands in these ranks, over all images, is its
lift towards each class. What an image shows, and what the suspect answers to marks of any kind, is
the same for all marks, and drops out.

Lifts follow from the answers alone. If the suspect was made without the key, the labels are still
uniform and independent when they are known. So whatever the suspect is, and whatever it answers,
the distribution of the sum of the lifts towards the labels is known exactly: that is a conditional
randomization test (Fisher 1935), and ranks make its statistic a whole number, so that the tail is
counted and not simulated.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tfmark.answers import Scores
from tfmark.spec import Spec
from tfmark.triggers import Ints
from tfmark.verdict import INCONCLUSIVE, NOT_SHOWN, OWNED, Thorough, Verdict

ROUNDS = 16  # images that all marks are put on
STEPS = 1 << 17  # of a sum of lifts; 48 marks of ten classes take 72,000


def rounds_of(spec: Spec) -> int:
    """How many images all marks of a key are put on: as many as are kept for it, up to `ROUNDS`."""
    return min(ROUNDS, spec.num_verification)


def lifts(scores: Scores) -> Ints:
    """How far each mark lifts each class above where other marks on the same image leave it.

    Args:
        scores: float64 array of shape (rounds, marks, classes): what a class scored for a mark on
            the image of that round. Only its order within one round and class counts, so logits
            will do as well as probabilities, or one for the answer and zero for all else. NaN is
            neither more nor less than anything.

    Returns:
        An int64 array of shape (marks, classes): over all rounds, the number of other marks with
        which the class scored less, less the number of those with which it scored more.
    """
    total = np.zeros(scores.shape[1:], np.int64)
    for of_round in scores:
        for class_id, column in enumerate(of_round.T):
            known = ~np.isnan(column)
            ordered, asked = np.sort(column[known]), column[known]
            less = np.searchsorted(ordered, asked, "left")
            more = len(ordered) - np.searchsorted(ordered, asked, "right")
            total[known, class_id] += less - more
    return total


def exact_tail(found: Ints, labels: Ints) -> float:
    """Exact probability that random labels are lifted in sum at least as far as these.

    Args:
        found: int64 array of shape (marks, classes), see `lifts`.
        labels: int64 array of shape (marks,), the label of each mark.

    Returns:
        The share of all ways to label the marks in which the sum over them is no smaller; at least
        1e-300. Many marks are counted in coarser steps, of which there are `STEPS` at most: the
        same for every labelling, so that it stays exact.
    """
    steps = found - found.min(axis=1, keepdims=True)
    steps //= max(1, -(-int(steps.max(axis=1).sum()) // STEPS))
    reached = int(np.take_along_axis(steps, labels[:, np.newaxis], axis=1).sum())
    ways = np.ones(1)  # share of the labellings so far, by their sum
    for step in steps:
        longer = np.zeros(len(ways) + int(step.max()))
        for size, count in zip(*np.unique(step, return_counts=True), strict=True):
            longer[size : size + len(ways)] += ways * (count / len(step))
        ways = longer
    return float(np.clip(ways[reached:].sum(), 1e-300, 1.0))


def weighed(before: Verdict, scores: Scores, labels: Ints, log_tries: float) -> Verdict:
    """What both questions found.

    Args:
        before: what the ordinary one found, which did not show the watermark.
        scores: float64 array of shape (rounds, marks, classes) of the thorough one.
        labels: int64 array of shape (marks,).
        log_tries: natural logarithm of the number of tries to count.
    """
    answered = ~np.isnan(scores).any(axis=2)
    lifted = lifts(scores)
    tail = exact_tail(lifted, labels)
    as_far = np.sum(lifted >= np.take_along_axis(lifted, labels[:, np.newaxis], axis=1), axis=1)
    tries = math.exp(min(log_tries, 700.0))
    p_value = max(min(before.p_value, tail * tries, 1.0), 1e-300)
    best = np.where(answered, np.nan_to_num(scores).argmax(axis=2), -1)
    status, reason = NOT_SHOWN, "The thorough question shows nothing either."
    if 2 * answered.sum() < answered.size:
        status = INCONCLUSIVE
        reason = f"Of {answered.size} questions {int((~answered).sum())} got no scores of classes."
    elif p_value <= before.alpha:
        status, reason = OWNED, "The thorough question suffices."
    return replace(
        before,
        status=status,
        p_value=p_value,
        evidence_bits=-math.log2(p_value),
        queries=before.queries + answered.size,
        matches=before.matches + int(np.sum(best == labels)),
        tail_p_value=None,
        reason=reason,
        tries=tries,
        thorough=Thorough(len(scores), len(labels), int(np.sum(as_far == 1)), tail),
    )
