"""A malicious claimant against innocent models: how often each attack succeeds, and what it costs.

    python benchmarks/false_claims.py [--fast] [--out benchmarks/results]

Each attack is measured twice: against the p-value alone ("uncounted"), and against what an audit
asks for ("as audited"), where everything that a claimant could have chosen counts as tries. Rates
come with exact (Clopper and Pearson) 95 % confidence intervals. Runs on one core.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from claims import choices, evidence, grinding, images, report
from innocents import Innocent, K, digits

from tfmark import statistics


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
    results = evidence.Results()
    images.honest(results, models, pixels, 2000 // part)
    chosen = images.chosen_labels(models, pixels, rng)
    grinding.mark_by_mark(results, models, pixels, 300 // part, rng)
    labels = grinding.fresh_roots(100_000 // part, rng)
    matches, ground = grinding.whole_keys(
        results, models[0].classify(pixels[: evidence.MARKS]), labels
    )
    images.adversarial_bases(results, models, pixels, 1000 // part, rng)
    choices.lucky_start(results, matches)
    choices.own_settings(results, models, pixels, 1000 // part)
    choices.aligned(results, models, pixels, 1000 // part)
    choices.many_classes(results, 2000 // part, rng)
    choices.asked_again(results, 20_000 // part, rng)
    cost = [{"alpha": alpha, "tries": 1 / statistics.power(evidence.MARKS, K, alpha / 2**4, 1 / K)}
            for alpha in (1e-6, 1e-9, 1e-12, 1e-15, 1e-18, 1e-24)]  # fmt: skip
    extra = {
        "models": len(models), "accuracies": [model.accuracy for model in models],
        "chosen": chosen, "grinding": ground, "cost": cost,
        "speed": grinding.speed(models[0], pixels, 5 / part), "took": time.time() - started,
    }  # fmt: skip
    report.report(results, extra, args)


if __name__ == "__main__":
    main()
