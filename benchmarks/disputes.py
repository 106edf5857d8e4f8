"""How many disputes does a key last? Simulated, with the test that makes evidence.

    python benchmarks/disputes.py [--keys 1000] [--alpha 1e-9]

Each dispute starts at the first mark that was not opened, and counts that start as so many tries,
as `tfmark.verify(..., evidence=...)` does. A key is used up when the marks that are left cannot
prove anything. Prints how many disputes were proved with a key: mean, and that of the worst 5 % of
keys.
"""

import argparse

import numpy as np

from tfmark.endpoints.dialect import Dialect
from tfmark.errors import InvalidArgumentError
from tfmark.evidence.choices import choices, log_tries
from tfmark.sequential import SequentialTest
from tfmark.statistics import default_num_marks

CLASSES = (3, 5, 10, 100, 1000)
ACCURACIES = (1.0, 0.95, 0.8)


def proved_disputes(num_classes, num_marks, accuracy, alpha, rng):
    """How many disputes one key proves until it is used up."""
    opened = proved = 0
    while True:
        tries = log_tries(choices(opened, num_classes, (0.0, 1.0), Dialect(), None, ()))
        try:
            test = SequentialTest(num_marks - opened, num_classes, alpha, log_tries=tries)
        except InvalidArgumentError:
            return proved
        while count := test.questions():
            test.record((rng.random(count) >= accuracy).astype(int), np.zeros(count, int))
        opened += test.queries
        proved += test.proved


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--alpha", type=float, default=1e-9)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| classes | marks | " + " | ".join(f"at {a:.0%}" for a in ACCURACIES) + " |")
    print("|---" * (2 + len(ACCURACIES)) + "|")
    for num_classes in CLASSES:
        usual = default_num_marks(num_classes)
        for num_marks in (usual, 2 * usual):
            cells = []
            for accuracy in ACCURACIES:
                counts = [
                    proved_disputes(num_classes, num_marks, accuracy, args.alpha, rng)
                    for _ in range(args.keys)
                ]
                cells.append(f"{np.mean(counts):.1f} ({np.quantile(counts, 0.05):.0f})")
            print(f"| {num_classes} | {num_marks} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
