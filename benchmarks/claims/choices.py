"""What can be chosen once all answers are known: marks, classes, settings, what failed."""

import math

import numpy as np
from innocents import K
from scipy.optimize import linear_sum_assignment

from claims.evidence import LEAST, MARKS, TABLE, best, new_key
from tfmark.evidence.choices import SCALES, SETTINGS


def lucky_start(results, matches):
    """The first mark is chosen once all answers are known."""
    uncounted = np.full(len(matches), -np.inf)
    audited = uncounted.copy()
    for first in range(MARKS - 4):
        evidence = best(matches[:, first:])
        uncounted = np.maximum(uncounted, evidence)
        tries = LEAST - math.log(2) + math.log((first + 1) * (first + 2))
        audited = np.maximum(audited, evidence - tries)
    results.add("lucky marks", "the best start of all", uncounted, audited, 8 * 2)


def aligned(results, models, pixels, count):
    """Classes are permuted so that as many marks as possible fit, once all answers are known."""
    rows = [[], []]
    for number in range(count):
        triggers = new_key(30_000 + number, pixels[:512]).triggers()
        for model in models:
            answers = model.classify(triggers.pixels)
            for kept in (12, 24, MARKS):
                counts = np.zeros((K, K), int)
                np.add.at(counts, (triggers.labels[:kept], answers[:kept]), 1)
                ours, theirs = linear_sum_assignment(counts, maximize=True)
                classes = np.empty(K, int)
                classes[theirs] = ours
                rows[0].append(classes[answers] == triggers.labels)
    evidence = best(np.array(rows[0])).reshape(-1, 3).max(axis=1)
    tries = LEAST - math.log(2) + math.log(4) + math.lgamma(K + 1)
    text = "the best permutation of all"
    results.add("classes aligned to fit", text, evidence, evidence - tries, math.exp(tries))


def many_classes(results, count, rng):
    """A suspect with more classes than the key: those that fit best are picked."""
    for theirs in (14, 20, 40):
        injective, free = [], []
        for _ in range(count):
            labels, answers = rng.integers(0, K, MARKS), rng.integers(0, theirs, MARKS)
            counts = np.zeros((K, theirs), int)
            np.add.at(counts, (labels, answers), 1)
            ours, picked = linear_sum_assignment(counts, maximize=True)
            classes = np.full(theirs, -1)
            classes[picked] = ours
            injective.append(classes[answers] == labels)
            free.append((counts, labels, answers))
        evidence = best(np.array(injective))
        tries = LEAST + math.log(2) + math.lgamma(K + 1)
        text = f"the best 10 of {theirs} classes"
        results.add("classes picked to fit", text, evidence, evidence - tries, math.exp(tries))
        values, audited = [], []
        for counts, labels, answers in free:
            order = np.argsort(-counts.max(axis=0))
            scores = []
            for kept in range(1, theirs + 1):
                classes = np.full(theirs, -1)
                classes[order[:kept]] = counts[:, order[:kept]].argmax(axis=0)
                value = float(best((classes[answers] == labels)[None])[0])
                counted = LEAST + math.log(2) + kept * math.log(K)
                scores.append((value, value - counted - math.log((kept + 1) * (kept + 2))))
            values.append(max(score[0] for score in scores))
            audited.append(max(score[1] for score in scores))
        text = f"any map of any of {theirs} classes"
        results.add("classes picked to fit", text, np.array(values), np.array(audited), K**theirs)


def own_settings(results, models, pixels, count):
    """The scale of pixels is chosen once all answers are known."""
    uncounted, audited = [], []
    for number in range(count):
        triggers = new_key(40_000 + number, pixels[:512]).triggers()
        for model in models:
            tried = [best((model.classify(triggers.pixels, scale) == triggers.labels)[None])[0]
                     for scale in SCALES]  # fmt: skip
            uncounted.append(max(tried))
            counted = LEAST - math.log(2) + math.log(2 * SETTINGS)
            audited.append(max(tried[0] - LEAST, max(tried[1:]) - counted))
    results.add("settings to fit", "the best scale of pixels", np.array(uncounted),
                np.array(audited), 8 * 2 * SETTINGS)  # fmt: skip


def asked_again(results, count, rng):
    """A suspect that answers at random is asked again, up to 3 times, after each miss.

    Each such answer has to be told as a failure; the next exchange stands one place later.
    """
    uncounted, audited = np.empty(count), np.empty(count)
    for run in range(count):
        tries, place, matches, top, net = LEAST, 1, [], 0.0, 0.0
        for _ in range(MARKS):
            for attempt in range(4):
                hit = rng.random() < 1 / K
                place += 1
                if hit or attempt == 3:
                    break
                tries += math.log(4 * place * (place + 1))
            matches.append(hit)
            now = TABLE[len(matches), sum(matches)]
            top, net = max(top, now), max(net, now - tries)
        uncounted[run], audited[run] = top, net
    results.add("misses told as failures", "a suspect that answers at random, 3 retries a mark",
                uncounted, audited, None)  # fmt: skip
