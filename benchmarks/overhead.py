"""What embedding costs in time: `fit` with the watermark against plain `fit`, side by side.

    python benchmarks/overhead.py [--rounds 15]
    python benchmarks/overhead.py --robust [--rounds 5]

The same model, the same clean images, trainings of each kind in turn, so that a busy machine slows
all of them alike. Prints the median over the rounds of each ratio within a round. With `--robust`
the embedding is robust, the network the one of `robustness.py`, and the images are MNIST's.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from networks import network

import tfmark
from tfmark import datasets

RATIO, BATCH, IMAGES = 0.03, 128, 6_400
ROBUST_RATIO, ROBUST_INJECT_EVERY, ROBUST_EPOCHS = 0.1, (1, 4), 8


def small_network(shape):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def usual(key):
    """Ways to embed: a pipeline or none, and a callback or none."""
    return {
        f"inject(ratio={RATIO})": (tfmark.inject(key, RATIO, seed=0), None),
        f"WatermarkCallback(inject_every=1, ratio={RATIO})": (
            None,
            tfmark.WatermarkCallback(key, 1, RATIO),
        ),
    }


def robust(key):
    """The same, robustly."""
    ways = {
        f"inject(ratio={ROBUST_RATIO}, robust=True), WatermarkCallback(robust=True)": (
            tfmark.inject(key, ROBUST_RATIO, seed=0, robust=True),
            tfmark.WatermarkCallback(key, robust=True),
        )
    }
    for number in ROBUST_INJECT_EVERY:
        ways[f"WatermarkCallback(inject_every={number}, ratio={ROBUST_RATIO}, robust=True)"] = (
            None,
            tfmark.WatermarkCallback(key, number, ROBUST_RATIO, robust=True),
        )
    return ways


def timed(model, clean, way, epochs):
    """Seconds of the clock and of the processor for one training."""
    pipeline, callback = way
    options = tf.data.Options()
    # TensorFlow 2.21 lets the end of an epoch wait for the autotuner's next turn, marked or not.
    options.autotune.enabled = False
    data = clean.apply(pipeline) if pipeline else clean
    data = data.prefetch(2).with_options(options)
    start = time.perf_counter(), time.process_time()
    model.fit(
        data,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=[callback] if callback else [],
    )
    return time.perf_counter() - start[0], time.process_time() - start[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robust", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    size, epochs = (28, ROBUST_EPOCHS) if args.robust else (24, 1)
    data = datasets.load("mnist" if args.robust else "digits")
    x = np.resize(data.x_train, (IMAGES, size, size, 1))
    y = np.resize(data.y_train, IMAGES)
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=x.shape[1:], num_classes=10, base_images=data.x_train[:512]
    )
    clean = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    ways = {"plain": (None, None), **(robust if args.robust else usual)(key)}
    models = {}
    for name in ways:
        shape = x.shape[1:]
        models[name] = (
            network("strided", "mnist", shape, 10) if args.robust else small_network(shape)
        )
        models[name].compile("adam", "sparse_categorical_crossentropy")
    rounds = []
    for number in range(args.rounds + 1):
        took = {name: timed(models[name], clean, way, epochs) for name, way in ways.items()}
        if number:  # the first round traces the graphs
            rounds.append(took)
    print(
        f"{IMAGES} clean images, {epochs} epochs, batch {BATCH}, {args.rounds} rounds, "
        f"TensorFlow {tf.__version__}"
    )
    print("\n| training | time against plain fit (median) | lowest | highest "
          "| processor time against plain fit (median) |\n|---|---|---|---|---|")  # fmt: skip
    for name in ways:
        clock, processor = ([took[name][i] / took["plain"][i] for took in rounds] for i in range(2))
        print(f"| {name} | {statistics.median(clock):.3f} | {min(clock):.3f} | {max(clock):.3f} "
              f"| {statistics.median(processor):.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
