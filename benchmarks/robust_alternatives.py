"""Other ways to move the weights before a step on triggers, beside the one tfmark ships.

    python benchmarks/robust_alternatives.py [--dataset digits] [--ways ...] [--seeds 0 1 2]

Everything else is the same: callback, network, number of triggers, warm-up, seeds, and the attacks
of `benchmarks/robustness.py`. Prints test accuracy, watermark accuracy before and after, and keeps
each run in a JSON file; what is in there is not done again.
"""

import argparse
import json
import statistics
from contextlib import ExitStack, contextmanager
from pathlib import Path

import keras
import numpy as np
import robustness
import tensorflow as tf

from tfmark import callback
from tfmark.robust_embedding import RATE, ThiefAhead

FINE_TUNINGS = ("fine-tuning 0.05", "fine-tuning 0.05, momentum 0.9")


class RandomLabels(ThiefAhead):
    """A clean step with labels that have nothing to do with the answers."""

    def _gradients_of(self, images, seed):
        weights = [tf.identity(weight.value) for weight in self._model.trainable_variables]
        state = [variable.value for variable in self._model.non_trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, _ = self._model.stateless_call(weights, state, images, training=True)
            shape = tf.shape(outputs)[:1]
            targets = tf.random.stateless_uniform(shape, seed, 0, outputs.shape[-1], tf.int32)
            loss = tf.reduce_mean(self._loss(targets, outputs))
        return tape.gradient(loss, weights)


class WeightNoise(ThiefAhead):
    """Gaussian noise on each kernel, of a share of its norm (Bansal et al., ICML 2022)."""

    share = 0.3

    def _gradients_of(self, images, seed):
        noise = [
            tf.random.stateless_normal(weight.shape, seed + i)
            for i, weight in enumerate(self._model.trainable_variables)
        ]
        return scaled(noise, self._model.trainable_variables, self.share)


class Adversarial(ThiefAhead):
    """The direction that hurts the marks most, by layer, triggers normalised among clean images.

    That of Gan et al., ICCV 2023 ("APP"), who take 2 % of each layer's norm.
    """

    share = 0.02
    key = None

    def after_a_step_on(self, images, turn):
        draw = np.random.default_rng([self._seed, turn, 2])
        indices = draw.integers(self.key.spec.num_marks, size=32)
        slots = draw.integers(self.key.spec.base_per_group, size=32)
        triggers = self.key.render(indices, slots, "embedding")
        mixed = np.concatenate([triggers.images, images])
        return super().after_a_step_on((mixed, triggers.labels), turn)

    def _gradients_of(self, batch, seed):
        images, labels = batch
        weights = [tf.identity(weight.value) for weight in self._model.trainable_variables]
        state = [variable.value for variable in self._model.non_trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs, _ = self._model.stateless_call(weights, state, images, training=True)
            loss = tf.reduce_mean(self._loss(labels, outputs[: tf.shape(labels)[0]]))
        uphill = [-gradient for gradient in tape.gradient(loss, weights)]
        return scaled(uphill, self._model.trainable_variables, self.share)


class StrongAdversarial(Adversarial):
    """The same, 10 % of each layer's norm."""

    share = 0.1


def scaled(directions, weights, share):
    """For kernels alone: so long that a step moves them by this share of their norm."""
    return [
        direction * share * tf.norm(weight.value) / (tf.norm(direction) + 1e-12) / RATE
        if len(weight.shape) > 1
        else tf.zeros_like(direction)
        for direction, weight in zip(directions, weights, strict=True)
    ]


class FourSteps(ThiefAhead):
    """Four clean steps, one behind the other."""

    @contextmanager
    def after_a_step_on(self, images, turn):
        with ExitStack() as stack:
            for step in range(4):
                stack.enter_context(super().after_a_step_on(images, 4 * turn + step))
            yield


class Nowhere(ThiefAhead):
    """No movement: the same steps on triggers, at the weights as they are."""

    def _gradients_of(self, images, seed):
        return [tf.zeros_like(weight.value) for weight in self._model.trainable_variables]


WAYS = {
    "as they are": Nowhere,
    "clean step, drawn labels (tfmark)": ThiefAhead,
    "four clean steps": FourSteps,
    "clean step, random labels": RandomLabels,
    "weight noise, 30 % of each layer": WeightNoise,
    "against the marks, 2 % (APP)": Adversarial,
    "against the marks, 10 %": StrongAdversarial,
}


def run(name, data, way, scheme, seed):
    key = robustness.key_of(data, scheme, seed)
    Adversarial.key = key
    callback.ThiefAhead = WAYS[way]
    model, seconds = robustness.train(
        name, data, key, "robust", seed, robustness.RECIPES[name].epochs
    )
    entry = {"stolen": robustness.measure(model, data, key), "seconds": round(seconds, 1)}
    for attack in FINE_TUNINGS:
        attacked = robustness.ATTACKS[attack](model, (data.x_train, data.y_train), seed)
        entry[attack] = robustness.measure(attacked, data, key)
    return entry | {"versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}"}


def table(runs):
    lines = [
        "| weights moved by | data | scheme | seeds | test | marks | s | after 0.05: test | marks "
        "| after 0.05, momentum 0.9: test | marks |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = {}
    for entry in runs:
        what = (entry["dataset"], entry["images"], entry["scheme"], entry["way"])
        groups.setdefault(what, []).append(entry)
    for (name, images, scheme, way), group in sorted(groups.items()):
        cells = [
            robustness.spread([100 * entry[place][what] for entry in group])
            for place in ("stolen", *FINE_TUNINGS)
            for what in ("test", "marks")
        ]
        seconds = f"{statistics.mean(entry['seconds'] for entry in group):.0f}"
        cells.insert(2, seconds)
        lines.append(
            f"| {way} | {name}, {images} images | {scheme} | {len(group)} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits", choices=robustness.RECIPES)
    parser.add_argument("--images", type=int, help="train on the first so many only")
    parser.add_argument("--schemes", nargs="+", default=["noise"], choices=robustness.SCHEMES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/robust_alternatives.json")
    )
    args = parser.parse_args()
    runs = json.loads(args.out.read_text()) if args.out.exists() else []
    data = robustness.load(args.dataset, args.images)
    for seed in args.seeds:
        for scheme in args.schemes:
            for way in args.ways:
                what = {"dataset": args.dataset, "images": len(data.x_train), "scheme": scheme}
                what |= {"way": way, "seed": seed}
                if not any(what.items() <= entry.items() for entry in runs):
                    runs.append(what | run(args.dataset, data, way, scheme, seed))
                    print(runs[-1], flush=True)
                    args.out.write_text(json.dumps(runs, indent=1) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()
