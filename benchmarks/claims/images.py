"""Keys as they are, and images that are made to suit a model."""

import numpy as np
from innocents import K, adversarial
from scipy import stats

from claims.evidence import LEAST, best, matches_of, new_key
from tfmark import statistics


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
