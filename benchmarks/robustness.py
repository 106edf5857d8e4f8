"""Do the marks outlive what is done to a stolen model? Plain embedding beside the robust one.

    python benchmarks/robustness.py [--datasets mnist cifar10] [--networks strided vgg ...]
                                    [--schemes ...] [--seeds 0 1 2]

For each scheme and seed the same network is trained on the same batches without marks; with
`tfmark.inject`; with `inject(robust=True)`, as many triggers, and hardened afterwards; robustly,
with `WatermarkCallback(robust=True)` besides, which entangles as well; and robustly with the
callback alone, as where there is no `tf.data`. Then it is attacked. Each model and each attack is
kept as it ends: what is in the JSON file is not done again. `--images` trains on fewer images, for
slow machines; the table says so. Seconds are those of the processor, not of the clock. The real
MNIST and CIFAR-10 come from TensorFlow Datasets; "mnist-half" and "cifar10-half" have half as many
pixels a side. "cifar10" is augmented by layers of the model, triggers along with it, and
"cifar10-augmented" in the pipeline in front of `inject`, where marks stand still. An embedding
that is called "still" in the results is as it was before robust triggers were moved, and one with
"filters alone" as before scales of batch normalisation were hardened. "owned" counts verdicts of
the ordinary question, and those of the thorough one behind a plus.
"""

import argparse
import itertools
import json
import os
import platform
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import robustness_tables
import tensorflow as tf
from networks import KINDS, augmentation, network

import tfmark
from tfmark import attacks, datasets
from tfmark.endpoints.in_memory import KerasModel

SCHEMES = ("noise", "content", "unrelated")
EMBEDDINGS = ("clean", "plain", "hardened", "robust", "callback")  # the last one is robust as well


class Recipe(NamedTuple):
    """How a network for some data is trained."""

    epochs: int
    rate: float  # of Adam, along half a cosine to 0
    batch: int = 128


RECIPES = {
    "digits": Recipe(15, 3e-3, batch=32),
    "mnist": Recipe(8, 2e-3),
    "mnist-half": Recipe(4, 3e-3),
    "cifar10": Recipe(20, 2e-3),
    "cifar10-augmented": Recipe(20, 2e-3),
    "cifar10-half": Recipe(8, 2e-3),
}
RATIO = 0.1  # triggers for each clean image, with and without `robust`, unless told otherwise
INJECT_EVERY = 1  # batches, where the callback is alone

STRONG = {"learning_rate": 0.05, "halve_every": 5, "epochs": 30, "share": 0.2}
ADAM = STRONG | {"optimizer": "adam", "learning_rate": 0.003}
ATTACKS = {
    "fine-tuning 0.05": attacks.FineTune(**STRONG),
    "fine-tuning 0.05, momentum 0.9": attacks.FineTune(**STRONG, momentum=0.9),
    "fine-tuning 0.05, momentum 0.9, augmented": attacks.FineTune(
        **STRONG, momentum=0.9, augment=True
    ),
    "fine-tuning 0.05, momentum 0.9, batches of 16": attacks.FineTune(
        **STRONG, momentum=0.9, batch_size=16
    ),
    "fine-tuning 0.05, softened first": attacks.FineTune(**STRONG, soften=True),
    "fine-tuning 0.05, momentum 0.9, softened first": attacks.FineTune(
        **STRONG, momentum=0.9, soften=True
    ),
    "fine-tuning Adam 0.003": attacks.FineTune(**ADAM),
    "fine-tuning Adam 0.003, softened first": attacks.FineTune(**ADAM, soften=True),
    **{
        f"a new last layer, {layers} trained": attacks.FineTune(
            **STRONG, layers=name, reinitialise=True, labels="predicted"
        )
        for layers, name in (("it alone", "last"), ("all layers", "all"))
    },
    **{
        f"unlearning {scheme}": attacks.Unlearn(
            scheme, tuning=attacks.FineTune(**STRONG, momentum=0.9)
        )
        for scheme in SCHEMES
    },
    "fine-tuning 0.01": attacks.FineTune(learning_rate=0.01, epochs=30, share=0.2),
    **{f"pruning {rate}": attacks.Prune(rate) for rate in (0.5, 0.7, 0.9)},
    **{f"pruning {rate}, by layer": attacks.Prune(rate, "layer") for rate in (0.5, 0.7, 0.9)},
    "fine-pruning 0.8": attacks.FinePrune(0.8, attacks.FineTune(**STRONG)),
    "int8": attacks.QuantizeLiteRT(),
    "mirrored": attacks.Flip(),
    "moved by 3.5 %": attacks.Shift(0.035),
    "moved by 7 %": attacks.Shift(0.07),
}


def load(name, images):
    """The first images of a data set; "-half" brings them to half the size by 2x2 means."""
    data = datasets.load(name.partition("-")[0])
    x_train, y_train = data.x_train[:images], data.y_train[:images]
    x_test = data.x_test
    if name.endswith("-half"):
        x_train, x_test = halved(x_train), halved(x_test)
    return data._replace(x_train=x_train, y_train=y_train, x_test=x_test)


def halved(images):
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32).round().astype(np.uint8)


def augmenting():
    """A function from batches to batches of flipped and shifted images."""
    layers = augmentation()

    def augment(images, labels):
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return tf.cast(tf.round(images), tf.uint8), labels

    return augment


def key_of(data, scheme, seed):
    text = "MINE" if data.x_train.shape[2] >= 17 else "ME"  # as much as fits
    return tfmark.WatermarkKey.generate(
        scheme=scheme,
        image_shape=data.x_train.shape[1:],
        num_classes=data.num_classes,
        base_images=data.x_train[:512],
        text=text if scheme == "content" else None,
        secret=np.random.default_rng(seed).bytes(32),
    )


def train(name, kind, data, key, embedding, ratio, seed, epochs):
    """Train one model; gives it and the seconds that its training took."""
    keras.utils.set_random_seed(seed)
    recipe = RECIPES[name]
    batches = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    batches = batches.shuffle(len(data.x_train), seed).batch(recipe.batch, drop_remainder=True)
    if name.endswith("-augmented"):
        batches = batches.map(augmenting(), 2)
    callbacks = []
    if embedding == "callback":
        callbacks.append(tfmark.WatermarkCallback(key, INJECT_EVERY, ratio, robust=True))
    elif embedding != "clean":
        batches = batches.apply(tfmark.inject(key, ratio, seed, robust=embedding != "plain"))
        callbacks.append(tfmark.WatermarkCallback(key, robust=embedding == "robust"))
    model = network(kind, name, data.x_train.shape[1:], data.num_classes)
    schedule = keras.optimizers.schedules.CosineDecay(recipe.rate, epochs * len(batches))
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    start = time.process_time()
    options = tf.data.Options()
    options.autotune.enabled = False  # it lets the end of an epoch wait for its next turn
    batches = batches.prefetch(2).with_options(options)
    model.fit(batches, epochs=epochs, verbose=0, callbacks=callbacks, shuffle=False)
    if embedding == "hardened":
        tfmark.harden(model)
    return model, time.process_time() - start


def measure(suspect, data, key):
    """Test accuracy, watermark accuracy on unseen triggers, and the verdict at alpha = 1e-9.

    Where the ordinary question does not show the mark, the thorough one is asked as well.
    """
    if isinstance(suspect, keras.Model):
        suspect = KerasModel(suspect, key.value_range, data.num_classes)
    ask = suspect.classify
    triggers = key.triggers(per_mark=4)
    verdict = tfmark.verify(suspect, key)
    found = {
        "test": float(np.mean(ask(data.x_test) == data.y_test)),
        "marks": float(np.mean(ask(triggers.pixels) == triggers.labels)),
        "verdict": verdict.status,
    }
    if verdict.status == "not shown":
        verdict = tfmark.verify(suspect, key, thorough=True)
        found["thorough"] = {"verdict": verdict.status, "p_value": verdict.p_value}
    return found


def run(name, kind, data, scheme, embedding, seed, args, runs):
    """Train and attack one model, as far as that is not done yet."""
    epochs = args.epochs or RECIPES[name].epochs
    ratio = 0.0 if embedding == "clean" else args.ratio
    what = {
        "dataset": name, "network": kind, "images": len(data.x_train), "epochs": epochs,
        "scheme": scheme, "embedding": embedding, "ratio": ratio, "seed": seed,
    }  # fmt: skip
    key = key_of(data, "noise" if embedding == "clean" else scheme, seed)
    path = args.models / ("-".join(str(value) for value in what.values()) + ".keras")
    entry = next((entry for entry in runs if what.items() <= entry.items()), None)
    if entry is None or not path.exists():
        model, seconds = train(name, kind, data, key, embedding, ratio, seed, epochs)
        args.models.mkdir(parents=True, exist_ok=True)
        model.save(path)
        if embedding != "clean":  # for `tfmark robustness`
            key.save(path.with_suffix(".tfmark"), overwrite=True)
        entry and runs.remove(entry)
        entry = what | measure(model, data, key) | {"seconds": round(seconds, 1), "attacks": {}}
        entry["versions"] = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
        entry["machine"] = machine()
        keep(entry, runs, args.out)
    for attack in args.attacks if embedding != "clean" else ():
        if attack not in entry["attacks"]:
            attacked = ATTACKS[attack](
                keras.saving.load_model(path), (data.x_train, data.y_train), seed
            )
            entry["attacks"][attack] = measure(attacked, data, key)
            keep(entry, runs, args.out)


def keep(entry, runs, out):
    if entry not in runs:
        runs.append(entry)
    out.write_text(json.dumps(runs, indent=1) + "\n")
    print({**entry, "attacks": list(entry["attacks"].items())[-1:]}, flush=True)


def machine():
    """What computes; times of one can only be compared with each other."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    devices = [device.name for device in tf.config.list_physical_devices("GPU")]
    return ", ".join(["CPU", platform.machine(), *itertools.islice(names, 1), *devices])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "cifar10"], choices=RECIPES)
    parser.add_argument("--networks", nargs="+", default=["strided"], choices=KINDS)
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=SCHEMES)
    parser.add_argument("--embeddings", nargs="+", default=EMBEDDINGS, choices=EMBEDDINGS)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of those in RECIPES")
    parser.add_argument("--ratio", type=float, default=RATIO, help="triggers for each clean image")
    parser.add_argument("--images", type=int, help="train on the first so many only")
    parser.add_argument("--models", type=Path, default=Path("build/robustness"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/robustness.json"))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    args = parser.parse_args()
    runs = json.loads(args.out.read_text()) if args.out.exists() else []
    for name in () if args.table else args.datasets:
        data = load(name, args.images)
        wanted = itertools.product(args.networks, args.seeds, args.schemes, args.embeddings)
        for kind, seed, scheme, embedding in wanted:
            scheme_of = "none" if embedding == "clean" else scheme
            run(name, kind, data, scheme_of, embedding, seed, args, runs)
    found = (run["embedding"] for run in runs if run["embedding"] != "clean")
    embeddings = dict.fromkeys([*EMBEDDINGS[1:], *found])
    print(robustness_tables.attacked(runs, ATTACKS, embeddings), end="\n\n")
    print(robustness_tables.costs(runs))


if __name__ == "__main__":
    main()
