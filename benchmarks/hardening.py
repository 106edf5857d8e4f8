"""How large `tfmark.harden` should make weights: what outlives fine-tuning, and what pruning.

    python benchmarks/hardening.py MODEL.keras [--dataset mnist-half] [--images 20000]
                                   [--lengths 4 8 16] [--scales 1 16]

Takes a model that `benchmarks/robustness.py` has kept (as `build/robustness/mnist-half-...-noise-
robust-0.1-0.keras`), gives its filters other lengths and its batch normalisations other scales, and
attacks it. Larger ones are changed less by fine-tuning; pruning by one threshold for all layers
takes the smallest weights, and behind larger filters these are those of the last layer.
"""

import argparse
import itertools

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
    parser.add_argument("--scales", nargs="+", type=float, default=[hardening.SCALE])
    parser.add_argument(
        "--attacks", nargs="+", choices=robustness.ATTACKS,
        default=["fine-tuning 0.05, momentum 0.9", "pruning 0.5"],
    )  # fmt: skip
    args = parser.parse_args()
    data = robustness.load(args.dataset, args.images)
    key = robustness.key_of(data, args.scheme, args.seed)
    titles = ("length of filters", "scales", "attack", "test accuracy", "marks", "verdict")
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    for length, scale in itertools.product(args.lengths, args.scales):
        model = keras.saving.load_model(args.model)
        tfmark.soften(model)
        hardening.LENGTH, hardening.SCALE = length, scale
        tfmark.harden(model)
        for name in args.attacks:
            attack = robustness.ATTACKS[name]
            attacked = attack(model, (data.x_train, data.y_train), args.seed)
            cell = robustness.measure(attacked, data, key)
            shares = (f"{100 * cell[each]:.1f}" for each in ("test", "marks"))
            row = (f"{length:g}", f"{scale:g}", name, *shares, cell["verdict"])
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
