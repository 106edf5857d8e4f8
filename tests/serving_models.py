"""The models of the recorded exchanges with TensorFlow Serving: same signatures, same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

NAMES = ["cat", "dog", "tortoise"]


def build(folder: Path) -> None:
    """Export all models into `folder/NAME/VERSION`."""
    _classifiers(folder)
    _two_inputs(folder)
    _images(folder)
    _functions(folder)
    _examples(folder)


def _weights(*shape: int) -> np.ndarray:
    """Small multiples of 1/8, so that sums of them are exact."""
    steps = np.arange(np.prod(shape)) * 3 % 7 - 3
    return (steps / 8).reshape(shape).astype(np.float32)


def _classifiers(folder: Path) -> None:
    """One small network (x: [-1, 4]) with many kinds of outputs, and with scaled logits."""
    import keras
    import tensorflow as tf

    def network() -> tuple[Any, Any]:
        x = keras.Input((4,), name="x")
        hidden, logits = keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)
        z = logits(hidden(x))
        hidden.set_weights([_weights(4, 8), _weights(8)])
        logits.set_weights([_weights(8, 3), _weights(3)])
        return x, z

    def export(name: str, inputs: Any, outputs: Any, version: int = 1) -> None:
        keras.Model(inputs, outputs).export(folder / name / str(version), verbose=False)

    class Argmax(keras.layers.Layer):
        def call(self, z: Any) -> Any:
            return tf.argmax(z, -1)

    x, z = network()
    probabilities, argmax = keras.layers.Softmax()(z), Argmax()(z)
    export("dense", x, probabilities)
    export("list_output", x, [z, probabilities])
    export("class_id", x, argmax)
    export("multi_output", x, {"logits": z, "class_id": argmax})
    for version in (1, 2, 3):
        scaled = z if version == 1 else keras.layers.Rescaling(float(version))(z)
        export("versions", x, scaled, version)

    model = keras.Model(x, z)

    def best(x: Any) -> Any:
        return {"label": tf.gather(NAMES, tf.argmax(model(x), -1))}

    def best_two(x: Any) -> Any:
        scores, classes = tf.math.top_k(tf.nn.softmax(model(x)), 2)
        return {"classes": tf.gather(NAMES, classes), "scores": scores}

    spec = tf.TensorSpec((None, 4), tf.float32, "x")
    _endpoint(folder / "class_name/1", model, best, spec)
    _endpoint(folder / "topk/1", model, best_two, spec)


def _two_inputs(folder: Path) -> None:
    import keras

    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    joint = keras.layers.Dense(2)
    y = joint(keras.layers.Concatenate()([a, b]))
    joint.set_weights([_weights(5, 2), _weights(2)])
    keras.Model([a, b], y).export(folder / "two_inputs/1", verbose=False)
    keras.Model({"a": a, "b": b}, {"y": y}).export(folder / "dict_inputs/1", verbose=False)


def _images(folder: Path) -> None:
    """Random weights: what is drawn, and in which order, must stay as it is."""
    import keras
    import tensorflow as tf

    def network(shape: tuple[int, ...], classes: int, dtype: str) -> Any:
        image = keras.Input(shape, dtype=dtype, name="image")
        y = keras.layers.Rescaling(1 / 255)(image) if dtype == "uint8" else image
        for filters in (8, 16):
            y = keras.layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(y)
        y = keras.layers.GlobalAveragePooling2D()(y)
        return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(y))

    keras.utils.set_random_seed(7)
    network((28, 28, 1), 10, "float32").export(folder / "cnn28/1", verbose=False)
    network((32, 32, 3), 10, "float32")
    network((4, 4, 1), 3, "uint8").export(folder / "uint8_image/1", verbose=False)

    pixels = keras.Input((None, None, 3))
    means = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels))

    def decode(png: Any) -> Any:
        image = tf.cast(tf.io.decode_png(png, 3), tf.float32)
        return tf.image.resize(image, (8, 8), "nearest")

    def mean_color(image_bytes: Any) -> Any:
        kind = tf.TensorSpec((8, 8, 3), tf.float32)
        return {"mean_rgb": means(tf.map_fn(decode, image_bytes, fn_output_signature=kind))}

    spec = tf.TensorSpec((None,), tf.string, "image_bytes")
    _endpoint(folder / "png/1", means, mean_color, spec)


def _functions(folder: Path) -> None:
    """Signatures without a network: each dtype, odd shapes, text, assertions, a lot of memory."""
    import tensorflow as tf

    def same(dtype: Any, to: Any = None) -> Any:
        spec = tf.TensorSpec((None, None), dtype, "x")
        return (lambda x: {"y": tf.cast(x, to) if to else tf.identity(x)}), spec

    kinds = {
        "f32": tf.float32, "f64": tf.float64, "f16": tf.float16, "bf16": tf.bfloat16,
        "i8": tf.int8, "i16": tf.int16, "i32": tf.int32, "i64": tf.int64,
        "u8": tf.uint8, "u16": tf.uint16, "u32": tf.uint32, "u64": tf.uint64,
        "bool": tf.bool, "string": tf.string, "c64": tf.complex64, "serving_default": tf.float32,
    }  # fmt: skip
    signatures = {name: same(dtype) for name, dtype in kinds.items()}
    signatures["f32_as_half"] = same(tf.float32, tf.float16)
    signatures["f32_as_bf16"] = same(tf.float32, tf.bfloat16)
    _save(folder / "dtypes/1", signatures)

    def for_each(x: Any, value: Any) -> Any:
        return tf.fill([tf.shape(x)[0]], value)

    def checked(x: Any) -> Any:
        check = tf.debugging.assert_less(x, 10.0, message="x must be below 10")
        with tf.control_dependencies([check]):
            return {"y": tf.identity(x)}

    def greedy(x: Any) -> Any:
        many = tf.random.uniform([tf.cast(x[0, 0], tf.int64)])
        return {"sum": tf.reduce_sum(many)[tf.newaxis]}

    pair = tf.TensorSpec((None, 2), tf.float32, "x")
    of_pairs = {
        "serving_default": lambda x: {"log": tf.math.log(x)},
        "scalar": lambda x: {"mean": tf.reduce_mean(x)},
        "two_batches": lambda x: {"x": x, "twice": tf.concat([x, x], 0)},
        "with_scalar": lambda x: {"x": x, "mean": tf.reduce_mean(x)},
        "empty": lambda x: {"none": x[:0]},
        "rank1": lambda x: {"sum": tf.reduce_sum(x, -1)},
        "text": lambda x: {"label": for_each(x, 'quote" \\ \n tab\t \u00e9\u2603')},
        "bad_utf8": lambda x: {"label": for_each(x, b"\xff\xfe")},
        "raw": lambda x: {"png_bytes": for_each(x, b"\x89PNG\x00\xff")},
        "check": checked,
        "alloc": greedy,
    }
    others = {
        "scalar_in": (lambda t: {"y": t * 2}, tf.TensorSpec((), tf.float32, "t")),
        "b64_named": (
            lambda b64: {"y": tf.strings.length(b64)},
            tf.TensorSpec((None,), tf.string, "b64"),
        ),
        "free": (lambda x: {"y": x * 2}, tf.TensorSpec(None, tf.float32, "x")),
    }
    _save(folder / "shapes/1", {name: (call, pair) for name, call in of_pairs.items()} | others)


def _examples(folder: Path) -> None:
    """Signatures of TensorFlow 1 for classify and regress, which take `tf.Example`s."""
    import tensorflow.compat.v1 as tf1

    saved_model = tf1.saved_model
    with tf1.Graph().as_default(), tf1.Session() as session:
        examples = tf1.placeholder(tf1.string, [None], "tf_example")
        weight = tf1.io.FixedLenFeature([1], tf1.float32, [1.0])
        features = {"x": tf1.io.FixedLenFeature([2], tf1.float32), "w": weight}
        parsed = tf1.io.parse_example(examples, features)
        scores = tf1.nn.softmax(parsed["x"] @ tf1.constant(_weights(2, 3)) * parsed["w"])
        names = tf1.tile([NAMES], [tf1.shape(scores)[0], 1])
        total = tf1.reduce_sum(parsed["x"], -1, keepdims=True) * parsed["w"]

        def signature(method: str, **outputs: Any) -> Any:
            infos = {name: saved_model.build_tensor_info(y) for name, y in outputs.items()}
            inputs = {"inputs": saved_model.build_tensor_info(examples)}
            method_name = f"tensorflow/serving/{method}"
            return saved_model.build_signature_def(inputs, infos, method_name)

        signatures = {
            "serving_default": signature("classify", classes=names, scores=scores),
            "scores_only": signature("classify", scores=scores),
            "classes_only": signature("classify", classes=names),
            "regress": signature("regress", outputs=total),
            "predict": signature("predict", scores=scores),
        }
        builder = saved_model.Builder(str(folder / "classify_regress/1"))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def _endpoint(path: Path, model: Any, call: Any, spec: Any) -> None:
    import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", call, [spec])
    archive.write_out(path, verbose=False)


def _save(path: Path, signatures: dict[str, tuple[Any, Any]]) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.functions = {
        name: tf.function(call, input_signature=[spec]) for name, (call, spec) in signatures.items()
    }
    tf.saved_model.save(module, str(path), module.functions)
