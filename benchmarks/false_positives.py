"""How often is an innocent model accused? Trained models that never saw a key, against fresh keys.

    python benchmarks/false_positives.py [--models 5] [--keys 2000]

Each model is asked all marks of each key once; the sequential test then runs on those answers as
`tfmark.verify` runs it. Then it is asked thoroughly, and the exact tail is taken of that alone.
Prints the share of keys that reach alpha in either way, with its exact (Clopper and Pearson) 95 %
confidence interval. The schemes take turns from key to key.
"""

import argparse
import itertools
import math

import keras
import numpy as np
from scipy import stats

import tfmark
from tfmark import datasets, statistics
from tfmark.asking import on_same_images
from tfmark.thorough import exact_tail, lifts

ALPHAS = (1e-2, 1e-3, 1e-4)
SCHEMES = ("content", "unrelated", "noise")


def innocent_model(data, seed):
    """A small network; its width and depth depend on the seed."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    stack = [keras.Input(data.x_train.shape[1:]), layers.Rescaling(1 / 255)]
    for depth in range(1 + seed % 2):
        stack.append(layers.Conv2D(16 * (1 + depth + seed % 3), 3, 2, activation="relu"))
    stack += [layers.Flatten(), layers.Dense(64, activation="relu")]
    model = keras.Sequential([*stack, layers.Dense(data.num_classes, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data.x_train, data.y_train, batch_size=32, epochs=10, verbose=0)
    _, accuracy = model.evaluate(data.x_test, data.y_test, verbose=0)
    print(f"model {seed}: test accuracy {accuracy:.3f}", flush=True)
    return model


def highest_evidence(answers, labels, num_classes):
    """The largest log evidence on the way through all answers."""
    matches = np.cumsum(answers == labels)
    return max(
        float(statistics.log_evidence(matches[i], i + 1, num_classes)) for i in range(len(labels))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--keys", type=int, default=2000)
    args = parser.parse_args()
    data = datasets.load("digits")
    models = [innocent_model(data, seed) for seed in range(args.models)]
    p_values = {"ordinary": [], "thorough": []}
    for number in range(args.keys):
        scheme = SCHEMES[number % len(SCHEMES)]
        key = tfmark.WatermarkKey.generate(
            scheme=scheme, image_shape=data.x_train.shape[1:], num_classes=data.num_classes,
            base_images=data.x_train[:96], text="MINE" if scheme == "content" else None,
            secret=np.random.default_rng(number).bytes(32),
        )  # fmt: skip
        triggers = key.triggers()
        images = np.stack([asked.images for asked in on_same_images(key)])
        for model in models:
            answers = model.predict_on_batch(triggers.images).argmax(axis=-1)
            evidence = highest_evidence(answers, triggers.labels, data.num_classes)
            p_values["ordinary"].append(math.exp(-evidence))
            scores = model.predict_on_batch(images.reshape(-1, *key.spec.image_shape))
            found = lifts(scores.reshape(*images.shape[:2], -1))
            p_values["thorough"].append(exact_tail(found, triggers.labels))
    print(f"{args.models} innocent models x {args.keys} keys of {key.spec.num_marks} marks")
    print("| question | alpha | keys that accuse | of | rate | 95 % confidence interval |")
    print("|---|---|---|---|---|---|")
    for (question, found), alpha in itertools.product(p_values.items(), ALPHAS):
        accused = sum(value <= alpha for value in found)
        interval = stats.binomtest(accused, len(found)).proportion_ci()
        print(
            f"| {question} | {alpha:g} | {accused} | {len(found)} | {accused / len(found):.2g} "
            f"| {interval.low:.2g} to {interval.high:.2g} |"
        )


if __name__ == "__main__":
    main()
