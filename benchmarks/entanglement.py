"""How triggers are best tied to their classes, so that they outlive a new last layer.

    python benchmarks/entanglement.py [--images 20000] [--seeds 0] [--ways ...]

MNIST at 14x14 and the network of `robustness.py`, trained as `WatermarkCallback(robust=True)` does,
with another loss in the place of its own; then the last layer is trained anew, alone and with the
rest. Prints watermark accuracy and test accuracy. What is in the JSON file is not done again.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import robustness
import tensorflow as tf

import tfmark.callback
from tfmark import entanglement
from tfmark.entanglement import Entanglement

NAME = "mnist-half"


def rows_of_a_batch():
    """Where `tfmark.inject` puts the images of a batch, and where the triggers among them."""
    batch = robustness.RECIPES[NAME].batch
    count = round(robustness.RATIO * batch)
    places = [np.arange(batch) * count, np.arange(count) * batch + batch // 2]
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.flatnonzero(order < batch), np.flatnonzero(order >= batch)


IMAGES, TRIGGERS = rows_of_a_batch()


class OfTriggers(Entanglement):
    """For triggers alone, with means of images alone; a trigger weighs as much as it did."""

    def _loss(self, features, y, weights):
        super()._loss(tf.gather(features, IMAGES), tf.gather(y, IMAGES), weights)  # for the means
        marked, labels = tf.gather(features, TRIGGERS), tf.gather(y, TRIGGERS)
        logits = self._cosines(marked) / entanglement.TEMPERATURE
        losses = keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return entanglement.WEIGHT * keras.ops.sum(losses) / (len(IMAGES) + len(TRIGGERS))


class WithHead(Entanglement):
    """With the last layer's weights for each class in the place of means."""

    def _cosines(self, features):
        kernel = tf.stop_gradient(keras.ops.convert_to_tensor(self._head.kernel))
        kernel -= tf.reduce_mean(kernel, axis=1, keepdims=True)
        return tf.nn.l2_normalize(features, 1) @ tf.nn.l2_normalize(kernel, 0)


class ByDistance(Entanglement):
    """Squared distances to the means, as shares of their mean, in the place of cosines."""

    def _cosines(self, features):
        sums, counts = (keras.ops.convert_to_tensor(mean) for mean in self.means)
        means = sums / tf.maximum(counts, entanglement.TINY)
        squares = tf.reduce_sum((features[:, tf.newaxis] - means) ** 2, axis=-1)
        return -squares / tf.stop_gradient(tf.reduce_mean(squares))


class Way(NamedTuple):
    """A loss, what it weighs, and what its logits are divided by."""

    kind: type = Entanglement
    weight: float = entanglement.WEIGHT
    temperature: float = entanglement.TEMPERATURE


WAYS = {
    "none": Way(weight=0.0),
    "cosines with the means of classes (what tfmark does)": Way(),
    "weight 1": Way(weight=1.0),
    "weight 10": Way(weight=10.0),
    "temperature 0.05": Way(temperature=0.05),
    "temperature 0.2": Way(temperature=0.2),
    "for triggers alone": Way(OfTriggers),
    "for triggers alone, weight 1": Way(OfTriggers, weight=1.0),
    "cosines with the last layer's weights": Way(WithHead),
    "distances from the means of classes": Way(ByDistance),
}
ATTACKS = [name for name in robustness.ATTACKS if name.startswith("a new last layer")]


def run(data, way, scheme, seed):
    entanglement.WEIGHT, entanglement.TEMPERATURE = way.weight, way.temperature
    tfmark.callback.Entanglement = way.kind
    key = robustness.key_of(data, scheme, seed)
    epochs = robustness.RECIPES[NAME].epochs
    model, _ = robustness.train(
        NAME, "strided", data, key, "robust", robustness.RATIO, seed, epochs
    )
    entry = {"stolen": robustness.measure(model, data, key)}
    for attack in ATTACKS:
        attacked = robustness.ATTACKS[attack](model, (data.x_train, data.y_train), seed)
        entry[attack] = robustness.measure(attacked, data, key)
    return entry | {"versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}"}


def table(runs):
    lines = [
        f"| loss | scheme | seed | nothing | {' | '.join(ATTACKS)} |",
        f"|---|---|---|---|{'---|' * len(ATTACKS)}",
    ]
    for entry in runs:
        cells = [
            f"{100 * entry[what]['marks']:.1f} ({100 * entry[what]['test']:.1f})"
            for what in ("stolen", *ATTACKS)
        ]
        what = f"{entry['way']} | {entry['scheme']} | {entry['seed']}"
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20000, help="train on the first so many")
    parser.add_argument("--schemes", nargs="+", default=["noise"], choices=robustness.SCHEMES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/entanglement.json"))
    args = parser.parse_args()
    runs = json.loads(args.out.read_text()) if args.out.exists() else []
    data = robustness.load(NAME, args.images)
    for seed in args.seeds:
        for scheme in args.schemes:
            for way in args.ways:
                what = {"images": args.images, "scheme": scheme, "way": way, "seed": seed}
                if not any(what.items() <= entry.items() for entry in runs):
                    runs.append(what | run(data, WAYS[way], scheme, seed))
                    args.out.write_text(json.dumps(runs, indent=1) + "\n")
                    print(table(runs[-1:]).splitlines()[-1], flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
