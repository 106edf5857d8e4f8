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
pixels a side.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from networks import KINDS, network

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
    "cifar10-half": Recipe(8, 2e-3),
}
RATIO = 0.1  # triggers for each clean image, with and without `robust`
INJECT_EVERY = 1  # batches, where the callback is alone

STRONG = {"learning_rate": 0.05, "halve_every": 5, "epochs": 30, "share": 0.2}
ADAM = STRONG | {"optimizer": "adam", "learning_rate": 0.003}
ATTACKS = {
    "fine-tuning 0.05": attacks.FineTune(**STRONG),
    "fine-tuning 0.05, momentum 0.9": attacks.FineTune(**STRONG, momentum=0.9),
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
    "fine-tuning 0.01": attacks.FineTune(learning_rate=0.01, epochs=30, share=0.2),
    **{f"pruning {rate}": attacks.Prune(rate) for rate in (0.5, 0.7, 0.9)},
    **{f"pruning {rate}, by layer": attacks.Prune(rate, "layer") for rate in (0.5, 0.7, 0.9)},
    "int8": attacks.QuantizeLiteRT(),
}


def load(name, images):
    """The first images of a data set; "-half" brings them to half the size by 2x2 means."""
    data = datasets.load(name.removesuffix("-half"))
    x_train, y_train = data.x_train[:images], data.y_train[:images]
    x_test = data.x_test
    if name.endswith("-half"):
        x_train, x_test = halved(x_train), halved(x_test)
    return data._replace(x_train=x_train, y_train=y_train, x_test=x_test)


def halved(images):
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32).round().astype(np.uint8)


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


def train(name, kind, data, key, embedding, seed, epochs):
    """Train one model; gives it and the seconds that its training took."""
    keras.utils.set_random_seed(seed)
    recipe = RECIPES[name]
    batches = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    batches = batches.shuffle(len(data.x_train), seed).batch(recipe.batch, drop_remainder=True)
    callbacks = []
    if embedding == "callback":
        callbacks.append(tfmark.WatermarkCallback(key, INJECT_EVERY, RATIO, robust=True))
    elif embedding != "clean":
        batches = batches.apply(tfmark.inject(key, RATIO, seed, robust=embedding != "plain"))
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
    """Test accuracy, watermark accuracy on unseen triggers, and the verdict at alpha = 1e-9."""
    if isinstance(suspect, keras.Model):
        suspect = KerasModel(suspect, key.value_range, data.num_classes)
    ask = suspect.classify
    triggers = key.triggers(per_mark=4)
    verdict = tfmark.verify(suspect, key)
    return {
        "test": float(np.mean(ask(data.x_test) == data.y_test)),
        "marks": float(np.mean(ask(triggers.pixels) == triggers.labels)),
        "verdict": verdict.status,
    }


def run(name, kind, data, scheme, embedding, seed, args, runs):
    """Train and attack one model, as far as that is not done yet."""
    epochs = args.epochs or RECIPES[name].epochs
    what = {
        "dataset": name, "network": kind, "images": len(data.x_train), "epochs": epochs,
        "scheme": scheme, "embedding": embedding, "seed": seed,
    }  # fmt: skip
    key = key_of(data, "noise" if embedding == "clean" else scheme, seed)
    path = args.models / ("-".join(str(value) for value in what.values()) + ".keras")
    entry = next((entry for entry in runs if what.items() <= entry.items()), None)
    if entry is None or not path.exists():
        model, seconds = train(name, kind, data, key, embedding, seed, epochs)
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


def table(runs):
    """One line for each attack, the embeddings side by side."""
    heads = " | ".join(f"{embedding}: test | marks | owned" for embedding in EMBEDDINGS[1:])
    lines = [
        f"| data | network | scheme | seeds | attack | {heads} |",
        "|---|---|---|---|---|" + "---|---|---|" * len(EMBEDDINGS[1:]),
    ]
    settings = sorted({tuple(r[k] for k in FIELDS) for r in runs})
    for setting in settings:
        found = [r for r in runs if setting == tuple(r[k] for k in FIELDS)]
        for attack in ("none", *ATTACKS):
            sides, seeds = [], set()
            for embedding in EMBEDDINGS[1:]:
                cells = {
                    r["seed"]: r if attack == "none" else r["attacks"].get(attack)
                    for r in found
                    if r["embedding"] == embedding
                }
                done = [cell for cell in cells.values() if cell]
                seeds |= {seed for seed, cell in cells.items() if cell}
                sides += side(done)
            name, images, epochs, kind, scheme = setting
            if seeds:
                lines.append(
                    f"| {name}, {images} images, {epochs} epochs | {kind} | {scheme} "
                    f"| {', '.join(map(str, sorted(seeds)))} | {attack} | {' | '.join(sides)} |"
                )
    return "\n".join(lines)


FIELDS = ("dataset", "images", "epochs", "network", "scheme")


def side(cells):
    """Test accuracy, watermark accuracy (mean and spread) and verdicts."""
    if not cells:
        return ["-"] * 3
    owned = sum(cell["verdict"] == "owned" for cell in cells)
    means = [spread([100 * cell[what] for cell in cells]) for what in ("test", "marks")]
    return [*means, f"{owned}/{len(cells)}"]


def spread(values):
    return f"{statistics.mean(values):.1f}" + (
        f" ± {statistics.pstdev(values):.1f}" if len(values) > 1 else ""
    )


def costs(runs):
    """What embedding costs against the same training without marks."""
    lines = [
        "| data | network | scheme | embedding | seeds | test accuracy | against clean | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    clean = {}
    for entry in (r for r in runs if r["scheme"] == "none"):
        clean.setdefault((*(entry[k] for k in FIELDS[:4]), entry["seed"]), []).append(entry)
    for setting in sorted({(*(r[k] for k in FIELDS), r["embedding"]) for r in runs}):
        *_, scheme, embedding = setting
        group = [r for r in runs if setting == (*(r[k] for k in FIELDS), r["embedding"])]
        pairs = [(r, other) for r in group for other in clean.get((*setting[:4], r["seed"]), ())]
        lost = [100 * (r["test"] - other["test"]) for r, other in pairs]
        timed = [(a["seconds"], b["seconds"]) for a, b in pairs if a["machine"] == b["machine"]]
        ratio = [ours / theirs for ours, theirs in timed]
        lines.append(
            f"| {setting[0]}, {setting[1]} images, {setting[2]} epochs | {setting[3]} | {scheme} "
            f"| {embedding} | {len(group)} | {spread([100 * r['test'] for r in group])} "
            f"| {f'{statistics.mean(lost):+.2f}' if lost else '-'} "
            f"| {f'x {statistics.mean(ratio):.2f}' if ratio else '-'} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "cifar10"], choices=RECIPES)
    parser.add_argument("--networks", nargs="+", default=["strided"], choices=KINDS)
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, choices=SCHEMES)
    parser.add_argument("--embeddings", nargs="+", default=EMBEDDINGS, choices=EMBEDDINGS)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="instead of those in RECIPES")
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
    print(table([r for r in runs if r["scheme"] != "none"]), costs(runs), sep="\n\n")


if __name__ == "__main__":
    main()
