"""Zhang et al.'s tables (ASIACCS 2018) again, each figure beside the paper's.

    python benchmarks/paper.py --fast     # about half an hour on two CPU cores
    python benchmarks/paper.py            # overnight

The networks for MNIST and CIFAR-10 are trained without a mark, with the paper's one mark for one
label, and with tfmark's many marks with secret random labels, of each scheme; then they are pruned
and fine-tuned. "digits", scikit-learn's, is there to try the script without a download.

An interrupted run goes on where it was: models are kept after each epoch (in `build/paper`),
figures after each attack. A run with other settings needs another `--out`. Writes JSON, a Markdown
table, and a plot for each data set.

The paper gives no momentum, but names the setting of Carlini and Wagner ("Towards Evaluating the
Robustness of Neural Networks", 2017), who train with Nesterov momentum 0.9, dropout behind the
first dense layer, and images from -0.5 to 0.5. So is it done here; `--momentum 0` does without.
"""

import argparse
import hashlib
import itertools
import json
import platform
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow
from reproduction import figures, measuring, one_mark, report, training

import tfmark
from tfmark import datasets

FAST = {
    "epochs": {"mnist": 5, "cifar10": 5, "digits": 30},
    "images": {"mnist": 12_000, "cifar10": 6_000, "digits": 1437},
    "test_images": 2_000,
    "tuning_epochs": 5,
}
FULL = {
    "epochs": {"mnist": 50, "cifar10": 20, "digits": 50},
    "images": {"mnist": 60_000, "cifar10": 50_000, "digits": 1437},
    "test_images": 10_000,
    "tuning_epochs": 10,
}

CONTROLS = ("none", "prune 90")  # what is done to the clean model as well


class Run:
    """The figures so far, kept in a file after each of them.

    Args:
        file: its path.
        command: what makes them.
        settings: what they depend on; a file of other settings or versions is left alone.
    """

    def __init__(self, file, command, settings):
        self.file, self.settings = file, settings
        self._facts = {"command": command, "settings": settings, "versions": _versions()}
        self._rows = []
        if file.exists():
            kept = json.loads(file.read_text())
            if any(kept[part] != self._facts[part] for part in ("settings", "versions")):
                sys.exit(f"{file} was made with other settings or versions. Choose another --out.")
            self._rows = kept["rows"]

    def missing(self, about, attacks):
        """Which of these attacks on a model have no figures yet."""
        done = [row["attack"] for row in self._rows if about.items() <= row.items()]
        return [attack for attack in attacks if attack not in done]

    def add(self, about, attack, measured):
        """Keep the figures of one attack."""
        self._rows.append({**about, "attack": attack, **measured})
        print("  " + ", ".join(f"{k} {_short(v)}" for k, v in self._rows[-1].items()), flush=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.facts(), indent=1) + "\n")
        part.replace(self.file)

    def facts(self):
        """All of it, for JSON and for the report."""
        return {**self._facts, "rows": self._rows}


def reproduce(name, run, schemes, work):
    """Train and attack all models of one data set."""
    settings = run.settings
    epochs, seed = settings["epochs"][name], settings["seed"]
    data = _part(datasets.load(name), settings["images"][name], settings["test_images"])
    measure = measuring.Measure(data.x_train.shape[1:], data.num_classes)
    attacks = measuring.attacks(figures.RATES, settings["tuning_epochs"])
    attacker, *half = measuring.halves(data, seed)
    test = data.x_test, data.y_test

    def trained(title, images, labels, **options):
        print(f"{name}: {title}", flush=True)
        return training.train(
            images, labels, data.num_classes, epochs, settings["momentum"], seed,
            work / f"{name}-{title}.keras", **options,
        )  # fmt: skip

    marks = {("one", scheme): (one_mark.make(name, data, scheme, seed), None) for scheme in schemes}
    for scheme in schemes:
        key = measuring.key_for(data, scheme, seed)
        marks["many", scheme] = measuring.triggers_of(key), key

    for kind, (setting, scheme) in itertools.product(("clean", "marked"), marks):
        triggers, key = marks[setting, scheme]
        about = {"dataset": name, "model": kind, "setting": setting, "scheme": scheme}
        missing = run.missing(about, CONTROLS if kind == "clean" else ["none", *attacks])
        if not missing:
            continue
        if kind == "clean":
            model = trained("clean", data.x_train, data.y_train)
        elif key is None:
            model = trained(f"one-{scheme}", *one_mark.added(data, triggers))
        else:
            mark = measuring.injected(key, len(data.x_train), epochs, seed)
            model = trained(f"many-{scheme}", data.x_train, data.y_train, mark=mark)
        for attack in missing:
            attacked = model if attack == "none" else attacks[attack](model, attacker, seed)
            held = half if attack.startswith("fine-tune") else test
            run.add(about, attack, measure(attacked, *held, triggers, key))
        report.write(run.facts(), run.file)


def _part(data, images, tests):
    return data._replace(
        x_train=data.x_train[:images], y_train=data.y_train[:images],
        x_test=data.x_test[:tests], y_test=data.y_test[:tests],
    )  # fmt: skip


def _versions():
    return {
        **{module.__name__: module.__version__ for module in (tfmark, tensorflow, keras, np)},
        "python": platform.python_version(),
    }


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else value


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--datasets", nargs="+", default=["mnist", "cifar10"], choices=FULL["epochs"]
    )
    parser.add_argument("--schemes", nargs="+", default=figures.SCHEMES, choices=figures.SCHEMES)
    parser.add_argument("--fast", action="store_true", help="few epochs on a part of the data")
    parser.add_argument("--epochs", type=int, help="of training; the paper's are 50")
    parser.add_argument("--images", type=int, help="of training; the first ones of the set")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file; defaults to one in benchmarks/results")
    parser.add_argument("--work", type=Path, default=Path("build/paper"), help="where models lie")
    args = parser.parse_args(arguments)
    settings = dict(FAST if args.fast else FULL)
    for name, value in (("epochs", args.epochs), ("images", args.images)):
        if value is not None:
            settings[name] = dict.fromkeys(settings[name], value)
    settings |= {"fast": args.fast, "momentum": args.momentum, "seed": args.seed}
    if args.fast:
        print("FAST: few epochs on a part of the data. The figures are no reproduction.")
    out = args.out or Path(f"benchmarks/results/paper{'_fast' * args.fast}.json")
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    work = args.work / digest
    work.mkdir(parents=True, exist_ok=True)
    given = sys.argv[1:] if arguments is None else arguments
    run = Run(out, " ".join(["python benchmarks/paper.py", *given]), settings)
    for name in args.datasets:
        reproduce(name, run, args.schemes, work)
    print(report.write(run.facts(), out))
    print(f"{time.process_time():.0f} seconds of processor time")


if __name__ == "__main__":
    main()
