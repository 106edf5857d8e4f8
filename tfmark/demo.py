"""`tfmark demo`: the whole story on this machine.

A small model is trained twice, once with the watermark; a thief fine-tunes and prunes a copy; all
three are exported, served over REST on loopback, and verified from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import tfmark
from tfmark import datasets, pictures
from tfmark.datasets import Dataset

TEXT = "MINE"
SIGHTINGS = 250  # how often each mark should be seen in training, about
PRUNED = 0.5  # share of each layer's weights that the thief sets to zero


class Row(NamedTuple):
    """One line of the table at the end."""

    name: str
    test_accuracy: float
    watermark_accuracy: float
    verdict: tfmark.Verdict


def run(dataset: str, scheme: str, epochs: int | None, seed: int, out: Path) -> list[Row]:
    """Run the demo.

    Args:
        dataset: name of a data set, see `datasets.load`.
        scheme: "content", "unrelated" or "noise".
        epochs: number of epochs. Defaults to about 1,000 training steps, at least 3 epochs.
        seed: for everything but the key's own derivation, which follows from it.
        out: folder for the key, the models and the picture.

    Returns:
        What the table shows: the innocent, the marked and the stolen model.

    Raises:
        DatasetError: if the data set cannot be had.
    """
    console = Console()
    data = datasets.load(dataset)
    keras.utils.set_random_seed(seed)
    # A tenth of the training images belongs to the thief; the owner never uses them.
    stolen_images = len(data.x_train) // 10
    x_thief, y_thief = data.x_train[:stolen_images], data.y_train[:stolen_images]
    x, y = data.x_train[stolen_images:], data.y_train[stolen_images:]
    batch_size = 32 if len(x) < 5000 else 128
    epochs = epochs or max(3, round(1000 * batch_size / len(x)))
    key = tfmark.WatermarkKey.generate(
        scheme=scheme,
        image_shape=x.shape[1:],
        num_classes=data.num_classes,
        base_images=x[: min(512, len(x) // 2)],
        text=TEXT if scheme == "content" else None,
        secret=np.random.default_rng(seed).bytes(32),
    )
    out.mkdir(parents=True, exist_ok=True)
    key.save(out / "owner.tfmark", overwrite=True)
    pictures.draw_marks(key, out / "marks.png")
    console.print(f"{dataset}: {len(x):,} training images of shape {x.shape[1:]}, {scheme} scheme")
    console.print(f"commitment to the key: {key.commitment}", highlight=False, soft_wrap=True)

    clean = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(10_000, seed).batch(batch_size)
    ratio = min(0.5, max(0.03, SIGHTINGS * key.spec.num_marks / (epochs * len(x))))
    marked = clean.apply(tfmark.inject(key, ratio, seed=seed))
    innocent, owned = _model(x.shape[1:], data.num_classes), _model(x.shape[1:], data.num_classes)
    with _progress(console) as progress:
        _fit(innocent, clean, epochs, progress, "training an innocent model")
        _fit(owned, marked, epochs, progress, "training with the watermark")
        thief = tf.data.Dataset.from_tensor_slices((x_thief, y_thief)).shuffle(10_000, seed)
        copy = steal(owned, thief.batch(batch_size), max(3, epochs // 4), progress)
        models = {"innocent": innocent, "marked": owned, "stolen": copy}
        exporting = progress.add_task("exporting", total=len(models))
        for name, model in models.items():
            model.export(str(out / "served" / name / "1"), verbose=False)
            progress.advance(exporting)
        rows = _verify_all(models, key, data, out / "served", progress)
    console.print(_table(rows))
    console.print(
        f"owned: a model made without the key gets there with a probability of at most "
        f"{rows[1].verdict.alpha:g}, whatever it does.\n"
        f"In {out}: the key (owner.tfmark), the triggers (marks.png), the models (served). Try\n"
        f"  tfmark serve {out}/served &\n"
        f"  tfmark verify {out}/owner.tfmark http://127.0.0.1:8501/v1/models/stolen",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return rows


def steal(model: Any, data: Any, epochs: int, progress: Progress) -> Any:
    """Copy a model, fine-tune all its layers, and prune half of the weights of each layer."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    _fit(copy, data, epochs, progress, "a thief fine-tunes and prunes")
    for variable in copy.trainable_variables:
        if len(variable.shape) > 1:
            weights = np.array(variable)
            cut = np.quantile(np.abs(weights), PRUNED)
            variable.assign(np.where(np.abs(weights) < cut, 0, weights))
    return copy


def _model(shape: tuple[int, ...], num_classes: int) -> Any:
    layers = keras.layers
    stack = [keras.Input(shape), layers.Rescaling(1 / 255)]
    side, width = min(shape[:2]), 32
    while side > 7:
        stack.append(layers.Conv2D(width, 3, 2, padding="same", activation="relu"))
        side, width = side // 2, min(2 * width, 128)
    stack += [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.3)]
    model = keras.Sequential([*stack, layers.Dense(num_classes, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def _fit(model: Any, data: Any, epochs: int, progress: Progress, title: str) -> None:
    task = progress.add_task(title, total=epochs * int(data.cardinality()))
    advance = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: progress.advance(task)
    )
    model.fit(
        data.prefetch(tf.data.AUTOTUNE),
        epochs=epochs,
        verbose=0,
        callbacks=[advance],
        shuffle=False,
    )


def _verify_all(
    models: dict[str, Any], key: tfmark.WatermarkKey, data: Dataset, served: Path,
    progress: Progress,
) -> list[Row]:  # fmt: skip
    """Verify each model, and measure it, through HTTP alone."""
    task = progress.add_task("asking over REST", total=len(models))
    triggers = key.triggers(per_mark=4)
    rows = []
    with tfmark.serve(served) as server:
        for name in models:
            url = server.url(name)
            suspect = tfmark.endpoint_from(url, key)
            x_test, y_test = data.x_test[:1000], data.y_test[:1000]
            rows.append(Row(
                name,
                float(np.mean(suspect.classify(x_test) == y_test)),
                float(np.mean(suspect.classify(triggers.pixels) == triggers.labels)),
                tfmark.verify(url, key),
            ))  # fmt: skip
            progress.advance(task)
    return rows


def _table(rows: list[Row]) -> Table:
    table = Table(title="Asked over HTTP alone")
    for column in (
        "model",
        "test accuracy",
        "watermark accuracy",
        "verdict",
        "p-value",
        "questions",
    ):
        table.add_column(column, justify="left" if column in ("model", "verdict") else "right")
    colours = {"owned": "green", "not shown": "yellow", "inconclusive": "red"}
    for name, test, watermark, verdict in rows:
        status = f"[{colours[verdict.status]}]{verdict.status}[/]"
        table.add_row(name, f"{test:.1%}", f"{watermark:.1%}", status, f"{verdict.p_value:.2g}",
                      str(verdict.queries))  # fmt: skip
    return table


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        yield progress
