"""Keys are tried until one suits a model: mark by mark, or whole; and what a try costs."""

import hashlib
import math
import time

import numpy as np
from innocents import K, digits

import tfmark
from claims.evidence import ALPHAS, LEAST, MARKS, best, new_key
from tfmark import derivation, statistics


def mark_by_mark(results, models, pixels, count, rng):
    """Subkeys are tried one by one until each label fits, under the root of that moment."""
    spec = new_key(1, pixels[:512]).spec
    canonical, size = spec.canonical(), 12
    answers = models[0].classify(pixels[:MARKS])  # of the unrelated scheme: labels change nothing
    rows = []
    for _ in range(count):
        keys = [rng.bytes(32) for _ in range(MARKS)]
        leaves = [derivation.leaf(i, key, canonical) for i, key in enumerate(keys)]
        for mark in range(size):
            while True:
                keys[mark] = rng.bytes(32)
                leaves[mark] = derivation.leaf(mark, keys[mark], canonical)
                root = derivation.merkle_root(leaves)
                if derivation.mark_label(keys[mark], root, K) == answers[mark]:
                    break
        labels = [derivation.mark_label(key, root, K) for key in keys]
        rows.append(labels == answers)
    matches = np.array(rows)
    evidence = best(matches)
    text = f"{size} marks, some {K * size} tries; of the first 11, {matches[:, :11].mean():.3f} fit"
    results.add("grinding mark by mark", text, evidence, evidence - LEAST, 2**4)


def whole_keys(results, answers, labels):
    """Whole keys until one fits, with a scheme whose triggers do not depend on the root."""
    matches = labels == answers
    evidence = best(matches)
    results.add("grinding whole keys", "a new root each try", evidence, evidence - LEAST, 2**4)
    found = []
    for alpha in ALPHAS[1:]:
        hits = np.flatnonzero(evidence - LEAST >= -math.log(alpha))
        gaps = np.diff(np.concatenate([[-1], hits]))
        exact = statistics.power(MARKS, K, alpha / 2**4, 1 / K)
        found.append({
            "alpha": alpha, "successes": len(hits),
            "mean tries": float(gaps.mean()) if len(gaps) else None, "exact": 1 / exact,
        })  # fmt: skip
    return matches, found


def fresh_roots(count, rng):
    """Labels of marks under many roots, as a claimant gets them who grinds.

    Only the last subkey is changed from one try to the next: a new root takes six hashes.
    """
    spec = new_key(1, digits()[0][:512]).spec.canonical()
    keys = [rng.bytes(32) for _ in range(MARKS)]
    leaves = [derivation.leaf(i, key, spec) for i, key in enumerate(keys)]
    path = derivation.merkle_path(leaves, MARKS - 1)
    labels = np.empty((count, MARKS), np.int64)
    for row in labels:
        last = derivation.leaf(MARKS - 1, rng.bytes(32), spec)
        root = derivation.root_above(last, MARKS - 1, MARKS, path)
        tail = root + b"label"
        row[:] = [
            int.from_bytes(hashlib.shake_256(key + tail).digest(4), "big") % K for key in keys
        ]
    assert row[:3].tolist() == [derivation.mark_label(key, root, K) for key in keys[:3]]
    return labels


def speed(model, pixels, seconds):
    """Tries a second on this core: hashing alone, and with new triggers for each try."""
    rng = np.random.default_rng(5)
    counts = []
    start = time.process_time()
    while time.process_time() - start < seconds:
        fresh_roots_pruned(rng, model)
        counts.append(1000)
    hashing = sum(counts) / (time.process_time() - start)
    start, keys = time.process_time(), 0
    base = new_key(3, pixels[:512])
    while time.process_time() - start < seconds:
        secret = rng.bytes(32)
        root = hashlib.sha256(secret).digest()  # in place of six hashes
        for mark in range(MARKS):
            key = derivation.subkey(secret, mark)
            pattern = tfmark.marks.draw(
                base.spec, mark, derivation.mark_stream(key, root, b"pattern")
            )
            trigger = pattern.apply(base.base_images[0, mark], 1)
            if model.classify(trigger[None])[0] != derivation.mark_label(key, root, K):
                break
        keys += 1
    asking = keys / (time.process_time() - start)
    start = time.process_time()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
    compressions = 2e6 / (time.process_time() - start)
    return {"python, hashing": hashing, "python, with triggers": asking,
            "SHA-256 compressions": compressions, "C, hashing": compressions / 16}  # fmt: skip


def fresh_roots_pruned(rng, model):
    """A thousand tries that end at the first miss."""
    keys = [rng.bytes(32) for _ in range(MARKS)]
    answers = [rng.integers(K)] * MARKS
    path = [rng.bytes(32) for _ in range(5)]
    for _ in range(1000):
        root = derivation.root_above(rng.bytes(32), MARKS - 1, MARKS, path)
        for key, answer in zip(keys, answers, strict=True):
            if (
                int.from_bytes(hashlib.shake_256(key + root + b"label").digest(4), "big") % K
                != answer
            ):
                break
