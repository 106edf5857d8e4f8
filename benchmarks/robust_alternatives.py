"""Other ways to make marks outlive fine-tuning, beside those that tfmark ships.

    python benchmarks/robust_alternatives.py [--dataset mnist-half] [--ways ...] [--seeds 0 1 2]

The same network, batches, number of triggers and attack for each; one thing about the training
differs. Every model is fine-tuned as it is and hardened (`tfmark.harden`). Prints test accuracy and
watermark accuracy, and keeps each run in a JSON file; what is in there is not done again.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import robustness
import robustness_tables
import tensorflow as tf
from networks import network

import tfmark


class Way(NamedTuple):
    """What is done to triggers, to their loss, and to the weights at which it is taken."""

    faint: float = 0.0  # share of triggers whose marks are faint: at 30 % of their strength and up
    noise: float = 0.0  # standard deviation of noise on triggers, of 255
    weight: float = 1.0  # of the loss of triggers
    temperature: float = 1.0  # that their logits are divided by, so that margins grow
    average: float = 0.0  # decay of a moving average of all weights, which is what is released
    move: str = ""  # where the weights are moved to for the gradient of the marks
    share: float = 0.0  # how far, as a share of each kernel's norm, from the second epoch on
    exponent: float = 0.0  # of exponential weighting (Namba et al., AsiaCCS 2019)
    times: float = 1.0  # as many triggers
    spread: bool = False  # whether each step teaches the marks to one layer alone, drawn anew


WAYS = {
    "plain": Way(),
    "one mark in four faint": Way(faint=0.25),
    "every mark faint": Way(faint=1.0),
    "larger margin: logits / 4": Way(temperature=4.0),
    "larger margin: logits / 8": Way(temperature=8.0),
    "triggers weigh 4 times": Way(weight=4.0),
    "noise on triggers": Way(noise=25.0),
    "averaged weights": Way(average=0.99),
    "against the marks, 2 % (APP)": Way(move="marks", share=0.02),
    "against the marks, 10 %": Way(move="marks", share=0.1),
    "weight noise, 10 %": Way(move="noise", share=0.1),
    "exponential weighting": Way(exponent=2.0),
    "twice as many triggers": Way(times=2.0),
    "marks spread over the layers": Way(spread=True),
}
FINE_TUNINGS = ("fine-tuning 0.05", "fine-tuning 0.05, momentum 0.9")


def train(name, data, key, way, seed):
    """A model trained on batches with triggers among them, at the ratio of `robustness.py`."""
    keras.utils.set_random_seed(seed)
    recipe = robustness.RECIPES[name]
    model = network("strided", name, data.x_train.shape[1:], data.num_classes)
    steps = len(data.x_train) // recipe.batch
    schedule = keras.optimizers.schedules.CosineDecay(recipe.rate, recipe.epochs * steps)
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(model.trainable_variables)
    step = stepper(model, optimizer, way)
    draw = np.random.default_rng(seed)
    count, turn, averages = round(way.times * robustness.RATIO * recipe.batch), 0, None
    for epoch in range(recipe.epochs):
        for rows in np.split(draw.permutation(len(data.x_train))[: steps * recipe.batch], steps):
            indices = np.arange(turn * count, (turn + 1) * count) % key.spec.num_marks
            slots = draw.integers(key.spec.base_per_group, size=count)
            strengths = np.where(draw.random(count) < way.faint, draw.uniform(0.3, 1, count), 1)
            triggers = key.render(indices, slots, "embedding", strengths.astype("float32"))
            images = triggers.images + way.noise * draw.normal(size=triggers.images.shape)
            step(data.x_train[rows].astype("float32"), data.y_train[rows].astype("int32"),
                 images.astype("float32"), triggers.labels.astype("int32"),
                 tf.constant(way.share if epoch else 0.0))  # fmt: skip
            turn += 1
            if way.average and epoch:
                weights = model.get_weights()
                averages = weights if averages is None else [
                    way.average * a + (1 - way.average) * b
                    for a, b in zip(averages, weights, strict=True)
                ]  # fmt: skip
    if averages is not None:
        model.set_weights(averages)
    for variable in model.trainable_variables:
        variable.assign(weighted(variable.value, way.exponent))
    model.compile(loss="sparse_categorical_crossentropy")
    return model


def stepper(model, optimizer, way):
    """One step of training as a compiled function."""

    def losses(weights, images, labels, marked, targets):
        weights = [weighted(weight, way.exponent) for weight in weights]
        state = [variable.value for variable in model.non_trainable_variables]
        mixed = tf.concat([images, marked], 0)
        scores, state = model.stateless_call(weights, state, mixed, training=True)
        logits, count = tf.math.log(scores + 1e-30), tf.shape(images)[0]
        return (
            entropy(labels, logits[:count]),
            way.temperature * entropy(targets, logits[count:] / way.temperature),
            state,
        )

    apart = way.move or way.spread  # the loss of the marks, for other weights
    layers = [variable.path.rsplit("/", 1)[0] for variable in model.trainable_variables]

    @tf.function
    def step(images, labels, marked, targets, distance):
        batch = images, labels, marked, targets
        weights = [tf.identity(variable.value) for variable in model.trainable_variables]
        share = way.weight * tf.cast(tf.size(targets) / tf.size(labels), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            clean, marks, state = losses(weights, *batch)
            loss = clean if apart else clean + share * marks
        gradients = tape.gradient(loss, weights)
        if apart:
            moved = elsewhere(weights, batch, distance)
            with tf.GradientTape() as tape:
                tape.watch(moved)
                loss = share * losses(moved, *batch)[1]
            there = tape.gradient(loss, moved)
            if way.spread:
                there = one_layer(there)
            gradients = [a + b for a, b in zip(gradients, there, strict=True)]
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        optimizer.apply(gradients, model.trainable_variables)

    def elsewhere(weights, batch, distance):
        """Where the loss of the marks is taken."""
        if not way.move:
            return weights
        return [
            weight + distance * tf.norm(weight) * direction / (tf.norm(direction) + 1e-12)
            for weight, direction in zip(weights, directions(weights, batch), strict=True)
        ]

    def directions(weights, batch):
        """For kernels alone: uphill for the loss of the marks, or anywhere."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = losses(weights, *batch)[1]
        uphill = tape.gradient(loss, weights)
        if way.move == "noise":
            uphill = [tf.random.normal(weight.shape) for weight in weights]
        return [d if len(d.shape) > 1 else tf.zeros_like(d) for d in uphill]

    def one_layer(gradients):
        """Those of one layer, times the number of layers: on average, those of all."""
        names = sorted(set(layers))
        drawn = tf.random.uniform([], maxval=len(names), dtype=tf.int32)
        keep = [tf.cast(drawn == names.index(name), tf.float32) for name in layers]
        return [len(names) * k * g for k, g in zip(keep, gradients, strict=True)]

    return step


def entropy(labels, logits):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def weighted(weight, exponent):
    """Large weights matter more: then marks live in them."""
    if not exponent or len(weight.shape) < 2:
        return weight
    powers = tf.exp(exponent * tf.abs(weight))
    return weight * powers / tf.reduce_max(powers)


def run(name, data, way, scheme, seed):
    key = robustness.key_of(data, scheme, seed)
    model = train(name, data, key, WAYS[way], seed)
    entry = {"stolen": robustness.measure(model, data, key)}
    for state in ("", "hardened, "):
        if state:
            tfmark.harden(model)
        for attack in FINE_TUNINGS:
            attacked = robustness.ATTACKS[attack](model, (data.x_train, data.y_train), seed)
            entry[state + attack] = robustness.measure(attacked, data, key)
    return entry | {"versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}"}


def table(runs):
    attacks = [state + attack for state in ("", "hardened, ") for attack in FINE_TUNINGS]
    lines = [
        f"| trained | data | scheme | seeds | test | marks | {' | '.join(attacks)} |",
        f"|---|---|---|---|---|---|{'---|' * len(attacks)}",
    ]
    groups = {}
    for entry in runs:
        what = (entry["dataset"], entry["images"], entry["scheme"], entry["way"])
        groups.setdefault(what, []).append(entry)
    for (name, images, scheme, way), group in groups.items():
        cells = [
            robustness_tables.spread([100 * entry["stolen"][what] for entry in group])
            for what in ("test", "marks")
        ]
        for attack in attacks:
            both = [
                robustness_tables.spread([100 * entry[attack][what] for entry in group])
                for what in ("marks", "test")
            ]
            cells.append("{} ({})".format(*both))
        lines.append(
            f"| {way} | {name}, {images} images | {scheme} | {len(group)} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="mnist-half", choices=robustness.RECIPES)
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
