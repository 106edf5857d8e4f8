"""A malicious claimant against innocent models: how often each attack succeeds, and what it costs.

    python benchmarks/false_claims.py [--fast] [--out benchmarks/results]

Each attack is measured twice: against the p-value alone ("uncounted"), and against what an audit
asks for ("as audited"), where everything that a claimant could have chosen counts as tries. Rates
come with exact (Clopper and Pearson) 95 % confidence intervals. Runs on one core.
"""

import argparse
import hashlib
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import sklearn
from innocents import SHAPE, Innocent, K, adversarial, digits
from scipy import stats
from scipy.optimize import linear_sum_assignment

import tfmark
from tfmark import derivation, statistics
from tfmark.evidence.choices import SCALES, SETTINGS

ALPHAS = (1e-1, 1e-2, 1e-3, 1e-4)
MARKS = 48
# What an audit counts at least: mark 0, no settings, classes as they are, no failures.
LEAST = math.log(2**4)
TABLE = np.array([
    [float(statistics.log_evidence(min(m, n), n, K)) for m in range(MARKS + 1)]
    for n in range(MARKS + 1)
])  # fmt: skip


def best(matches):
    """Highest log evidence on the way through matches, an array (keys, marks) of booleans."""
    counts = np.cumsum(matches, axis=1)
    return TABLE[np.arange(1, matches.shape[1] + 1), counts].max(axis=1)


class Results:
    """Rows of the table."""

    def __init__(self):
        self.rows = []

    def add(self, attack, detail, uncounted, audited, tries):
        """One row for each alpha, from log evidence, and from that less the tries counted."""
        for alpha in ALPHAS:
            row = {"attack": attack, "detail": detail, "alpha": alpha, "n": len(audited)}
            row["tries counted"] = tries
            for name, values in (("uncounted", uncounted), ("audited", audited)):
                hits = int((values >= -math.log(alpha)).sum())
                interval = stats.binomtest(hits, len(values)).proportion_ci()
                row[name] = hits / len(values)
                row[f"{name} 95 %"] = [interval.low, interval.high]
            self.rows.append(row)
        print(f"{attack}: {detail}", flush=True)

    def markdown(self):
        """A line for each attack: rates at each alpha, and those of audits with their intervals."""
        heads = [f"uncounted at {alpha:g}" for alpha in ALPHAS]
        heads += [f"audited at {alpha:g} (95 %)" for alpha in ALPHAS]
        yield f"| attack | runs | tries counted | {' | '.join(heads)} |"
        yield "|---" * (3 + len(heads)) + "|"
        for start in range(0, len(self.rows), len(ALPHAS)):
            rows = self.rows[start : start + len(ALPHAS)]
            tries = rows[0]["tries counted"]
            cells = [f"{row['uncounted']:.2g}" for row in rows]
            for row in rows:
                low, high = row["audited 95 %"]
                cells.append(f"{row['audited']:.2g} ({low:.1g} to {high:.1g})")
            counted = "as they come" if tries is None else f"{tries:.2g}"
            what = f"{rows[0]['attack']}: {rows[0]['detail']}"
            yield f"| {what} | {rows[0]['n']:,} | {counted} | {' | '.join(cells)} |"


def new_key(number, bases, scheme="noise", **options):
    return tfmark.WatermarkKey.generate(
        scheme=scheme, image_shape=SHAPE, num_classes=K, num_marks=MARKS, base_images=bases,
        secret=np.random.default_rng(number).bytes(32), **options,
    )  # fmt: skip


def matches_of(keys, models):
    """Whether each model answers each trigger of each key with its label."""
    rows = []
    for key in keys:
        triggers = key.triggers()
        rows += [model.classify(triggers.pixels) == triggers.labels for model in models]
    return np.array(rows)


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


def honest(results, models, pixels, count):
    matches = matches_of([new_key(n, pixels[:512]) for n in range(count)], models)
    evidence = best(matches)
    results.add("(no attack)", "keys as they are", evidence, evidence - LEAST, 2**4)
    return matches


def chosen_labels(models, pixels, rng):
    """What published schemes allow: triggers and labels that suit a model, then a commitment."""
    targets = rng.integers(0, K, 200)
    images = adversarial(models[0], pixels[:200], targets, rng, noise=20.0)
    rates = [float((model.classify(images) == targets).mean()) for model in models]
    tails = [statistics.binomial_tail(int(rate * 200), 200, K) for rate in rates]
    return {"own": rates[0], "others": rates[1:], "p-values": tails}


def adversarial_bases(results, models, pixels, count, rng):
    """White-box images against the first model, committed to as base images; then transferred."""
    for detail, targets in (
        ("PGD to random classes", rng.integers(0, K, 512)),
        ("PGD, all to one class", np.full(512, 3)),
    ):
        images = adversarial(models[0], pixels[:512], targets, rng)
        noisy = np.clip(images + rng.normal(0, 65, images.shape), 0, 255)
        fooled = float((models[0].classify(noisy) == targets).mean())
        keys = [new_key(10_000 + n, images) for n in range(count)]
        for who, suspects in (("white box", models[:1]), ("transfer", models[1:])):
            matches = matches_of(keys, suspects)
            evidence = best(matches)
            rate = stats.binomtest(int(matches.sum()), matches.size).proportion_ci()
            text = f"{detail} ({fooled:.0%} fooled), {who}; labels matched {matches.mean():.4f} "
            text += f"({rate.low:.4f} to {rate.high:.4f})"
            results.add("adversarial base images", text, evidence, evidence - LEAST, 2**4)
    kinds = np.arange(400) % K
    foreign = adversarial(models[0], pixels[:400], kinds, rng, noise=1.0)
    keys = [
        new_key(20_000 + n, pixels[:512], "unrelated", unrelated_images=(foreign, kinds))
        for n in range(count // 3)
    ]
    evidence = best(matches_of(keys, models[:1]))
    text = "PGD images as unrelated images, white box"
    results.add("adversarial base images", text, evidence, evidence - LEAST, 2**4)


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


def report(results, extra, args):
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, scikit-learn "
    versions += f"{sklearn.__version__}, tfmark {tfmark.__version__}"
    rates, chosen = extra["speed"], extra["chosen"]
    others = ", ".join(f"{rate:.0%}" for rate in chosen["others"])
    p_values = ", ".join(f"{p:.1g}" for p in chosen["p-values"])
    fast = " --fast" if args.fast else ""
    lines = [
        f"## `python benchmarks/false_claims.py{fast}`",
        f"{versions}; seeds 0 to {extra['models'] - 1} for models, 0 for all else; {MARKS} marks, "
        f"{K} classes; took {extra['took']:.0f} s on a shared core.",
        "",
        *results.markdown(),
        "",
        f"Labels chosen to suit a model, as published schemes allow: {chosen['own']:.0%} of 200 "
        f"adversarial triggers fit the model that they were made for, and {others} fit others that "
        f"the claimant never saw; the binomial p-values are {p_values}.",
        "",
        "| alpha | successes | tries to success, measured | exact |",
        "|---|---|---|---|",
    ]
    for row in extra["grinding"]:
        mean = "-" if row["mean tries"] is None else f"{row['mean tries']:,.0f}"
        lines.append(f"| {row['alpha']:g} | {row['successes']} | {mean} | {row['exact']:,.0f} |")
    lines += [
        "",
        f"Tries a second on one core: {rates['python, hashing']:,.0f} in Python where triggers do "
        "not depend on the root (unrelated scheme), "
        f"{rates['python, with triggers']:,.0f} in Python where they do and the model is asked; "
        f"{rates['SHA-256 compressions']:,.0f} SHA-256 compressions, so about "
        f"{rates['C, hashing']:,.0f} tries in C at 16 a try.",
        "",
        "| alpha | tries | core-hours, hashing in C | core-hours, Python with triggers |",
        "|---|---|---|---|",
    ]
    for row in extra["cost"]:
        hours = [
            row["tries"] / rates[way] / 3600 for way in ("C, hashing", "python, with triggers")
        ]
        lines.append(f"| {row['alpha']:g} | {row['tries']:.2g} | {hours[0]:.2g} | {hours[1]:.2g} |")
    text = "\n".join(lines) + "\n"
    print(text)
    args.out.mkdir(exist_ok=True)
    (args.out / "false_claims.md").write_text(text)
    facts = {"rows": results.rows, **extra}
    (args.out / "false_claims.json").write_text(json.dumps(facts, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="a tenth of the runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    started, part = time.time(), 10 if args.fast else 1
    rng = np.random.default_rng(0)
    pixels, classes = digits()
    models = [Innocent(pixels, classes, seed) for seed in range(3)]
    print("test accuracies", [f"{model.accuracy:.3f}" for model in models], flush=True)
    results = Results()
    honest(results, models, pixels, 2000 // part)
    chosen = chosen_labels(models, pixels, rng)
    mark_by_mark(results, models, pixels, 300 // part, rng)
    labels = fresh_roots(100_000 // part, rng)
    matches, grinding = whole_keys(results, models[0].classify(pixels[:MARKS]), labels)
    adversarial_bases(results, models, pixels, 1000 // part, rng)
    lucky_start(results, matches)
    own_settings(results, models, pixels, 1000 // part)
    aligned(results, models, pixels, 1000 // part)
    many_classes(results, 2000 // part, rng)
    asked_again(results, 20_000 // part, rng)
    cost = [{"alpha": alpha, "tries": 1 / statistics.power(MARKS, K, alpha / 2**4, 1 / K)}
            for alpha in (1e-6, 1e-9, 1e-12, 1e-15, 1e-18, 1e-24)]  # fmt: skip
    extra = {
        "models": len(models), "accuracies": [model.accuracy for model in models],
        "chosen": chosen, "grinding": grinding, "cost": cost,
        "speed": speed(models[0], pixels, 5 / part), "took": time.time() - started,
    }  # fmt: skip
    report(results, extra, args)


if __name__ == "__main__":
    main()
