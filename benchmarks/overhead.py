"""What embedding costs in time: `fit` with the watermark against plain `fit`, side by side.

    python benchmarks/overhead.py [--rounds 15]

The same model, the same clean images, epochs of each kind in turn, so that a busy machine slows all
of them alike. Prints the median over the rounds of each ratio within a round.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import tfmark
from tfmark import datasets

RATIO, INJECT_EVERY, BATCH, IMAGES = 0.03, 50, 128, 6_400


def model(shape):
    layers = keras.layers
    network = keras.Sequential(
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
    network.compile("adam", "sparse_categorical_crossentropy")
    return network


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    digits = datasets.load("digits")
    x = np.resize(digits.x_train, (IMAGES, 24, 24, 1))
    y = np.resize(digits.y_train, IMAGES)
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=(24, 24, 1), num_classes=10, base_images=digits.x_train[:512]
    )
    clean = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    plain, marked, called = model(x.shape[1:]), model(x.shape[1:]), model(x.shape[1:])

    def fit(network, data, *callbacks):
        start = time.perf_counter(), time.process_time()
        network.fit(
            data.prefetch(tf.data.AUTOTUNE), verbose=0, shuffle=False, callbacks=list(callbacks)
        )
        return time.perf_counter() - start[0], time.process_time() - start[1]

    injected = clean.apply(tfmark.inject(key, RATIO, seed=0))
    callback = tfmark.WatermarkCallback(key, inject_every=INJECT_EVERY)
    kinds = {
        "plain": lambda: fit(plain, clean),
        f"inject(ratio={RATIO})": lambda: fit(marked, injected),
        f"WatermarkCallback(inject_every={INJECT_EVERY})": lambda: fit(called, clean, callback),
    }
    rounds = []
    for number in range(args.rounds + 1):
        took = {name: run() for name, run in kinds.items()}
        if number:  # the first round traces the graphs
            rounds.append(took)
    print(
        f"{IMAGES} clean images, batch {BATCH}, {args.rounds} rounds, TensorFlow {tf.__version__}"
    )
    print("\n| training | time against plain fit (median) | lowest | highest "
          "| processor time against plain fit (median) |\n|---|---|---|---|---|")  # fmt: skip
    for name in kinds:
        clock, processor = ([took[name][i] / took["plain"][i] for took in rounds] for i in range(2))
        print(f"| {name} | {statistics.median(clock):.3f} | {min(clock):.3f} | {max(clock):.3f} "
              f"| {statistics.median(processor):.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
