"""Draws docs/evidence-over-questions.png: three models, asked more and more questions.

python docs/draw_evidence.py
"""

import math
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import tfmark
from tfmark import datasets
from tfmark.attacks import FineTune, Prune
from tfmark.statistics import log_evidence

ALPHA = 1e-9
QUESTIONS = 24
STEAL = Prune(0.9, retrain=FineTune(learning_rate=0.05, halve_every=5, epochs=30))
COLOURS = {"yours": "#1a7f37", "stolen": "#bc4c00", "innocent": "#57606a"}


def main():
    keras.utils.set_random_seed(0)
    data = datasets.load("digits")
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=(24, 24, 1), num_classes=10, base_images=data.x_train[:512],
        secret=bytes(32),
    )  # fmt: skip
    batches = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    batches = batches.shuffle(2000, seed=0).batch(32)
    yours = trained(batches.apply(tfmark.inject(key, ratio=0.3, seed=0)), epochs=30)
    innocent = trained(batches, epochs=10)
    stolen = STEAL(yours, (data.x_train, data.y_train), 0)
    suspects = {"yours": yours, "stolen": stolen, "innocent": innocent}
    triggers = key.triggers()
    curves = {}
    for name, suspect in suspects.items():
        accuracy = np.mean(np.argmax(suspect.predict(data.x_test, verbose=0), -1) == data.y_test)
        answers = np.argmax(suspect.predict(triggers.pixels, verbose=0), -1)
        curves[name] = evidence_after_each(answers == triggers.labels)
        print(f"{name}: test accuracy {accuracy:.1%}, {tfmark.verify(suspect, key, ALPHA)!r}")
    draw(curves, Path(__file__).with_name("evidence-over-questions.png"))


def trained(batches, epochs):
    """A small network for the digits."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((24, 24, 1)),
        layers.Rescaling(1 / 255),
        layers.Conv2D(32, 3, 2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, 2, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * int(batches.cardinality()))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False)
    return model


def evidence_after_each(matches):
    """Logarithm to base 10 of the evidence after 0, 1, 2, ... answers."""
    counts = np.cumsum(matches[:QUESTIONS])
    evidence = [log_evidence(count, n, num_classes=10) for n, count in enumerate(counts, 1)]
    return np.array([0, *evidence]) / math.log(10)


def draw(curves, file):
    plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(figsize=(9, 4), dpi=160, layout="constrained")
    proof = -math.log10(ALPHA)
    axes.axhspan(proof, 30, color="#dafbe1", lw=0)
    axes.axhline(proof, color="#1a7f37", lw=1, ls="--")
    axes.text(0.3, 22.5, "owned: evidence of 1/alpha = 10⁹ or more", color="#1a7f37")
    labels = {
        "yours": "your model",
        "stolen": "stolen: 90 % pruned,\nthen trained on",
        "innocent": "an innocent model",
    }
    for name, curve in curves.items():
        axes.plot(curve, color=COLOURS[name], lw=2)
        axes.text(QUESTIONS + 0.3, curve[-1], labels[name], color=COLOURS[name], va="center")
        asked = np.flatnonzero(curve >= proof)
        if len(asked):
            axes.plot(asked[0], curve[asked[0]], "o", color=COLOURS[name], ms=7)
            axes.annotate(
                f"{asked[0]} questions", (asked[0], curve[asked[0]]), (8, -14),
                textcoords="offset points", color=COLOURS[name],
            )  # fmt: skip
    axes.set(
        xlim=(0, QUESTIONS), ylim=(-7, 25), xlabel="questions asked", yticks=range(-5, 30, 5),
        ylabel="evidence (log₁₀)",
    )  # fmt: skip
    figure.savefig(file)


if __name__ == "__main__":
    main()
