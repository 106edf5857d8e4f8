"""How large `tfmark.harden` should make filters: what outlives fine-tuning, and what pruning.

    python benchmarks/hardening.py MODEL.keras [--dataset mnist-half] [--images 20000] [--lengths 8]

Takes a model that `benchmarks/robustness.py` has kept (as `build/robustness/mnist-half-...-noise-
robust-0.1-0.keras`), gives its filters other lengths, and attacks it. Larger filters are turned
less by fine-tuning; pruning by one threshold for all layers takes the smallest weights, and these
are those of the last layer then.
"""

import argparse

import keras
import robustness

import tfmark
from tfmark import hardening


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dataset", default="mnist-half", choices=robustness.RECIPES)
    parser.add_argument("--images", type=int, help="the first so many, as in training")
    parser.add_argument("--scheme", default="noise", choices=robustness.SCHEMES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lengths", nargs="+", type=float, default=[4, 8, 16])
    parser.add_argument(
        "--attacks", nargs="+", choices=robustness.ATTACKS,
        default=["fine-tuning 0.05, momentum 0.9", "pruning 0.5"],
    )  # fmt: skip
    args = parser.parse_args()
    data = robustness.load(args.dataset, args.images)
    key = robustness.key_of(data, args.scheme, args.seed)
    print("| length of filters | attack | test accuracy | marks | verdict |\n|---|---|---|---|---|")
    for length in args.lengths:
        model = keras.saving.load_model(args.model)
        tfmark.soften(model)
        hardening.LENGTH = length
        tfmark.harden(model)
        for name in args.attacks:
            attack = robustness.ATTACKS[name]
            attacked = attack(model, (data.x_train, data.y_train), args.seed)
            cell = robustness.measure(attacked, data, key)
            print(
                f"| {length:g} | {name} | {100 * cell['test']:.1f} | {100 * cell['marks']:.1f} "
                f"| {cell['verdict']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
