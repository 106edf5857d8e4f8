"""Do the marks get in, and what do they cost? All schemes, beside the same training without them.

    python benchmarks/embedding.py [--datasets digits mnist cifar10] [--schemes ...] [--seeds 0 1 2]

Prints test accuracy, watermark accuracy on unseen triggers, and the verdict, mean and spread over
the seeds, and keeps each run in a JSON file: a run that is in there is not done again. The real
MNIST and CIFAR-10 come from TensorFlow Datasets. Runs on any Keras backend,
with `--via callback` on TensorFlow.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfmark
from tfmark import datasets

EPOCHS = {"digits": 60, "mnist": 8, "cifar10": 3}
BATCH = {"digits": 32, "mnist": 128, "cifar10": 128}
RATIO = {"digits": 0.15, "mnist": 0.08, "cifar10": 0.08}  # a mark is seen 180 to 400 times
SCHEMES = ("clean", "content", "unrelated", "noise")


def network(name, shape, classes):
    """Small enough for two CPU cores; with batch normalisation for CIFAR-10."""
    layers = keras.layers
    normalised = name == "cifar10"
    stack = [keras.Input(shape), layers.Rescaling(1 / 255)]
    for width, stride in ((32, 2), (64, 2), (96, 1), (96, 2)) if normalised else ((32, 2), (64, 2)):
        stack.append(layers.Conv2D(width, 3, stride, padding="same", use_bias=not normalised))
        stack += [layers.BatchNormalization()] * normalised
        stack.append(layers.ReLU())
    stack += [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.3)]
    return keras.Sequential([*stack, layers.Dense(classes, activation="softmax")])


def train(name, data, scheme, seed, via, epochs):
    """Train one model and measure it."""
    keras.utils.set_random_seed(seed)
    shape, batch = data.x_train.shape[1:], BATCH[name]
    key = tfmark.WatermarkKey.generate(
        scheme="noise" if scheme == "clean" else scheme,
        image_shape=shape,
        num_classes=data.num_classes,
        base_images=data.x_train[:512],
        text="MINE" if scheme == "content" else None,
        secret=np.random.default_rng(seed).bytes(32),
    )
    train_set = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    train_set = train_set.shuffle(len(data.x_train), seed).batch(batch)
    every = None
    if scheme != "clean" and via == "inject":
        train_set = train_set.apply(tfmark.inject(key, RATIO[name], seed))
    elif scheme != "clean":
        every = 1
    model = network(name, shape, data.num_classes)
    steps = epochs * int(train_set.cardinality())
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    watch = tfmark.WatermarkCallback(key, every, RATIO[name], seed=seed)
    start = time.time()
    history = model.fit(
        train_set.prefetch(tf.data.AUTOTUNE), epochs=epochs, verbose=0, callbacks=[watch],
        shuffle=False,
    )  # fmt: skip
    triggers = key.triggers(per_mark=5)
    answers = model.predict(triggers.images, verbose=0).argmax(axis=-1)
    _, accuracy = model.evaluate(data.x_test, data.y_test, batch_size=500, verbose=0)
    verdict = tfmark.verify(model, key)
    return {
        "dataset": name, "scheme": scheme, "seed": seed, "via": via,
        "epochs": epochs, "ratio": RATIO[name], "inject_every": every,
        "test_accuracy": float(accuracy),
        "watermark_accuracy": float(np.mean(answers == triggers.labels)),
        "watermark_accuracy_by_epoch": history.history["watermark_accuracy"],
        "verdict": verdict.status, "p_value": verdict.p_value, "queries": verdict.queries,
        "seconds": round(time.time() - start, 1),
        "backend": keras.backend.backend(), "keras": keras.__version__, "machine": machine(),
    }  # fmt: skip


def machine():
    """What ran this."""
    if keras.backend.backend() == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    return ", ".join(tf.config.list_physical_devices("GPU")) or platform.machine()


def table(runs):
    """The runs as a Markdown table: mean over the seeds, and spread as the standard deviation."""
    lines = [
        "| data | epochs | scheme | embedded by | seeds | test accuracy | against clean | "
        "watermark accuracy (unseen) | owned | questions |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = {}
    for run in runs:
        groups.setdefault((run["dataset"], run["epochs"], run["scheme"], run["via"]), []).append(
            run
        )
    for (name, epochs, scheme, via), group in sorted(groups.items()):
        test = [100 * run["test_accuracy"] for run in group]
        seeds = {run["seed"] for run in group}
        clean = [
            100 * run["test_accuracy"]
            for run in groups.get((name, epochs, "clean", "inject"), ())
            if run["seed"] in seeds
        ]
        marks = [100 * run["watermark_accuracy"] for run in group]
        loss = statistics.mean(test) - statistics.mean(clean) if clean else float("nan")
        owned = sum(run["verdict"] == "owned" for run in group)
        lines.append(
            f"| {name} | {epochs} | {scheme} | {'-' if scheme == 'clean' else via} | {len(group)} "
            f"| {statistics.mean(test):.2f} ± {statistics.pstdev(test):.2f} | {loss:+.2f} "
            f"| {statistics.mean(marks):.1f} (worst {min(marks):.1f}) | {owned}/{len(group)} "
            f"| {max(run['queries'] for run in group)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=list(EPOCHS))
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=SCHEMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of those in EPOCHS")
    parser.add_argument("--via", default="inject", choices=("inject", "callback"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/embedding.json"))
    args = parser.parse_args()
    runs = json.loads(args.out.read_text()) if args.out.exists() else []
    done = {tuple(run[k] for k in ("dataset", "scheme", "seed", "via", "epochs")) for run in runs}
    for name in args.datasets:
        data, epochs = datasets.load(name), args.epochs or EPOCHS[name]
        for seed in args.seeds:
            for scheme in args.schemes:
                if (name, scheme, seed, args.via, epochs) in done:
                    continue
                run = train(name, data, scheme, seed, args.via, epochs)
                print({k: v for k, v in run.items() if "epoch" not in k}, flush=True)
                runs.append(run)
                args.out.write_text(json.dumps(runs, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()
