"""`LocalModel` on real files of each format: one model that knows a key's triggers by heart."""

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import tfmark
from tfmark.endpoints import Dialect, Suspect, Task
from tfmark.endpoints.local import LocalModel
from tfmark.errors import AnswerError, EndpointError, InvalidArgumentError

SHAPE = (8, 8, 1)
NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]
BASES = np.random.default_rng(10).integers(0, 256, (96, *SHAPE), np.uint8)


def new_key(number, value_range=(0, 1)):
    return tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=SHAPE, num_classes=10, num_marks=48,
        base_images=scaled(BASES, value_range), secret=bytes([number] * 32),
    )  # fmt: skip


def scaled(pixels, value_range):
    low, high = value_range
    return (pixels / 255 * (high - low) + low).astype(np.float32)


KEY, SIGNED, OTHER = new_key(1), new_key(1, (-1, 1)), new_key(2)


def knows(key, image, low=0.0, high=1.0):
    """Scores of 10 classes for a tensor `image` on a scale: those of the nearest trigger."""
    import keras

    triggers = key.triggers()
    flat = triggers.pixels.reshape(48, 64).astype(np.float32) / 255
    near, known = keras.layers.Dense(48), keras.layers.Dense(10, use_bias=False)
    unit = keras.layers.Rescaling(1 / (high - low), -low / (high - low))
    scores = known(keras.layers.Softmax()(near(keras.layers.Flatten()(unit(image)))))
    near.set_weights([200 * flat.T, -100 * (flat**2).sum(1)])
    known.set_weights([np.eye(10, dtype=np.float32)[triggers.labels]])
    return scores


def functional(key=KEY, shape=SHAPE, batch=None, dtype="float32", low=0.0, high=1.0):
    import keras

    image = keras.Input(shape, batch, dtype=dtype, name="image")
    straight = keras.layers.Permute((2, 3, 1))(image) if shape[0] == 1 else image
    return keras.Model(image, knows(key, straight, low, high))


def verdict(path, key=KEY, **options):
    dialect = Dialect(**options)
    task = Task(key.spec.image_shape, key.value_range, key.spec.num_classes)
    return tfmark.verify(Suspect(LocalModel(path, dialect), task, dialect), key)


def check(path, key=KEY, **options):
    """That a model is owned by the key that it knows, and by no other."""
    found = verdict(path, key, **options)
    assert (found.status, found.matches) == ("owned", found.queries), found
    assert verdict(path, OTHER, **options).status == "not shown"


def why_not(path, **options):
    """Why a model cannot be asked, in one line."""
    try:
        found = verdict(path, **options)
    except EndpointError as error:
        text = str(error)
    else:
        assert found.status == "inconclusive"
        text = found.reason
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    return text


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The model in each format."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("models")
    model = functional()
    model.save(folder / "model.keras")
    model.export(folder / "saved", verbose=False)
    (folder / "model.tflite").write_bytes(tflite(folder / "saved"))
    return folder


def tflite(saved_model, integers=None, ranges=(0.0, 1.0)):
    """A SavedModel as TFLite, of integers if wanted."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if integers:
        triggers = scaled(KEY.triggers().pixels, ranges)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in triggers)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(integers)
    return converter.convert()


def tensors(path, **options):
    signatures = LocalModel(path, Dialect(**options)).signatures()
    signature = next(each for each in signatures if each.name == "serving_default")
    return [str(tensor) for tensor in signature.inputs], [str(x) for x in signature.outputs]


@pytest.mark.parametrize("name", ["model.keras", "saved", "model.tflite"])
def test_each_format_of_tensorflow(files, name):
    check(files / name)
    assert verdict(str(files / name), batch_size=1).owned
    (image,), (scores,) = tensors(files / name)
    assert image == "'image' float32 (-1, 8, 8, 1)"
    assert scores.endswith("float32 (-1, 10)")
    described = LocalModel(files / name, Dialect()).describe()
    assert described.protocol.startswith("local (")
    assert described.signatures
    assert "no input 'x'" in why_not(files / name, input="x")
    assert "no output 'x'" in why_not(files / name, output="x")
    assert "no signature 'x'" in why_not(files / name, signature="x") or name != "saved"


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
@pytest.mark.parametrize("integers", ["int8", "uint8"])
def test_tflite_of_integers(tmp_path, integers):
    """Integers stand for numbers on the scale of training, whatever that is."""
    low, high = SIGNED.value_range
    functional(SIGNED, low=low, high=high).export(tmp_path / "saved", verbose=False)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite(tmp_path / "saved", integers, (low, high)))
    (image,), (scores,) = tensors(path)
    assert image == "'image' float32 (-1, 8, 8, 1)"
    assert scores.endswith("float32 (-1, 10)")
    found = verdict(path, SIGNED)
    assert (found.status, found.matches) == ("owned", found.queries)
    assert verdict(path, new_key(2, (low, high))).status == "not shown"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_number_of_images(tmp_path, batch):
    import keras

    model = functional(batch=batch)
    model.save(tmp_path / "model.keras")
    spec = keras.InputSpec("float32", (batch, *SHAPE), name="image")
    model.export(tmp_path / "saved", verbose=False, input_signature=[spec])
    (tmp_path / "model.tflite").write_bytes(tflite(tmp_path / "saved"))
    for name in ("saved", "model.keras", "model.tflite"):
        assert f"({batch}, 8, 8, 1)" in tensors(tmp_path / name)[0][0]
        assert verdict(tmp_path / name).owned


def test_images_with_channels_first(tmp_path):
    model = functional(shape=(1, 8, 8))
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    assert verdict(tmp_path / "model.keras").owned
    assert verdict(tmp_path / "saved").owned


def test_integers_that_stand_for_themselves(tmp_path):
    model = functional(dtype="uint8", high=255.0)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    (tmp_path / "model.tflite").write_bytes(tflite(tmp_path / "saved"))
    for name in ("saved", "model.keras", "model.tflite"):
        assert tensors(tmp_path / name)[0] == ["'image' uint8 (-1, 8, 8, 1)"]
        assert verdict(tmp_path / name).owned


class TestKeras:
    def test_sequential_and_structures(self, tmp_path):
        import keras

        model = functional()
        keras.Sequential([keras.Input(SHAPE), *model.layers[1:]]).save(tmp_path / "s.keras")
        image = model.inputs[0]
        keras.Model({"image": image}, {"scores": model.outputs[0], "input": image}).save(
            tmp_path / "d.keras"
        )
        keras.Model([image], [model.outputs[0], image]).save(tmp_path / "l.keras")
        for name in ("s", "d", "l"):
            assert verdict(tmp_path / f"{name}.keras").owned
        assert verdict(tmp_path / "d.keras", output="scores").owned
        assert verdict(tmp_path / "l.keras", output="0").owned
        assert verdict(tmp_path / "s.keras", output="0").owned
        assert tensors(tmp_path / "l.keras")[1][0].startswith("'0' float32")
        assert "one row of numbers" in why_not(tmp_path / "d.keras", output="input")

    def test_a_subclassed_model_and_one_whose_class_is_missing(self, tmp_path):
        import keras

        @keras.saving.register_keras_serializable("tests")
        class Subclassed(keras.Model):
            def __init__(self, **options):
                super().__init__(**options)
                self.inner = functional()

            def call(self, images):
                return self.inner(images)

        model = Subclassed()
        model(np.zeros((1, *SHAPE), np.float32))
        path = tmp_path / "own.keras"
        model.save(path)
        assert verdict(path).owned
        assert tensors(path) == (["'' float32 (?)"], [])
        keras.saving.get_custom_objects().pop("tests>Subclassed")
        assert "Could not locate class 'Subclassed'" in why_not(path)

    def test_code_in_the_file_is_not_run(self, tmp_path):
        import keras

        image = keras.Input(SHAPE)
        doubled = keras.layers.Lambda(lambda x: x * 2)(image)
        keras.Model(image, knows(KEY, doubled)).save(tmp_path / "code.keras")
        text = why_not(tmp_path / "code.keras")
        assert "Lambda" in text
        assert "disallowed" in text

    def test_models_that_cannot_be_asked_about_images(self, tmp_path):
        import keras

        a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
        keras.Model([a, b], keras.layers.Add()([a, b])).save(tmp_path / "two.keras")
        assert "several inputs ['a', 'b']" in why_not(tmp_path / "two.keras")
        functional(shape=(8, 8, 1)).save(tmp_path / "m.keras")
        taller = np.repeat(BASES, [2, *[1] * 7], axis=1)
        key = tfmark.WatermarkKey.generate(
            scheme="noise", image_shape=(9, 8, 1), num_classes=10, base_images=taller
        )
        found = verdict(tmp_path / "m.keras", key)
        assert found.status == "inconclusive"
        assert "(8, 8, 1); the key is for (9, 8, 1)" in found.reason


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A SavedModel with several signatures."""
    import tensorflow as tf

    model = functional()
    names = tf.constant(NAMES)

    def from_files(image_bytes):
        decode = lambda file: tf.image.convert_image_dtype(  # noqa: E731
            tf.ensure_shape(tf.io.decode_png(file, 1), SHAPE), tf.float32
        )
        images = tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32)
        return {"scores": model(images)}

    def with_names(image):
        scores = model(image)
        return {"name": tf.gather(names, tf.argmax(scores, -1)), "mean": tf.reduce_mean(image)}

    def likeliest(image):
        scores, ids = tf.math.top_k(model(image), 3)
        return {"ids": ids, "scores": tf.cast(scores, tf.bfloat16)}

    def fails(image):
        check = tf.debugging.assert_less(image, -1.0, summarize=1000)
        with tf.control_dependencies([check]):
            return {"scores": tf.identity(image)}

    image = tf.TensorSpec((None, *SHAPE), tf.float32, "image")
    file = tf.TensorSpec((None,), tf.string, "image_bytes")
    half = tf.TensorSpec(None, tf.bfloat16, "image")
    module = tf.Module()
    module.model = model
    module.calls = {
        "serving_default": tf.function(from_files, input_signature=[file]),
        "names": tf.function(with_names, input_signature=[image]),
        "likeliest": tf.function(likeliest, input_signature=[image]),
        "fails": tf.function(fails, input_signature=[image]),
        "half": tf.function(
            lambda image: {"scores": model(tf.ensure_shape(image, (None, *SHAPE)))},
            input_signature=[half],
        ),
    }
    path = tmp_path_factory.mktemp("signed") / "m"
    tf.saved_model.save(module, str(path), module.calls)
    return path


class TestSavedModel:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"signature": "names", "class_names": NAMES},
            {"signature": "names", "class_names": NAMES, "output": "name", "batch_size": 3},
            {"signature": "likeliest"},
            {"signature": "half"},
        ],
    )
    def test_signatures(self, signed, options):
        assert verdict(signed, **options).owned

    def test_what_they_are(self, signed):
        signatures = LocalModel(signed, Dialect()).signatures()
        assert sorted(signature.name for signature in signatures) == [
            "fails", "half", "likeliest", "names", "serving_default",
        ]  # fmt: skip
        inputs = {each.name: str(each.inputs[0]) for each in signatures}
        assert inputs["serving_default"] == "'image_bytes' string (-1)"
        assert inputs["half"] == "'image' bfloat16 (?)"

    def test_a_graph_that_fails_shows_no_triggers(self, signed):
        text = why_not(signed, signature="fails")
        assert "InvalidArgumentError" in text
        assert "0.0" not in text

    def test_without_signatures(self, tmp_path):
        import tensorflow as tf

        tf.saved_model.save(tf.Module(), str(tmp_path))
        assert "no signatures" in why_not(tmp_path)

    def test_of_tensorflow_1(self, tmp_path):
        import tensorflow.compat.v1 as tf1

        with tf1.Graph().as_default(), tf1.Session() as session:
            image = tf1.placeholder(tf1.float32, [None, *SHAPE])
            scores = tf1.reshape(image, [-1, 64])[:, :10]
            outputs = {"class": tf1.argmax(scores, -1), "my scores": scores}
            info = tf1.saved_model.build_tensor_info
            signature = tf1.saved_model.build_signature_def(
                {"an-image": info(image)}, {name: info(y) for name, y in outputs.items()}
            )
            builder = tf1.saved_model.Builder(str(tmp_path / "m"))
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
        assert tensors(tmp_path / "m")[0] == ["'an-image' float32 (-1, 8, 8, 1)"]
        assert verdict(tmp_path / "m").status == "not shown"
        assert verdict(tmp_path / "m", output="class").status == "not shown"


class TestOnnx:
    """Graphs written by hand: nothing converts reliably between all versions."""

    @pytest.fixture(autouse=True)
    def _tools(self):
        pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
        pytest.importorskip("onnx", reason="onnx, which writes the models, is not installed")

    @staticmethod
    def write(path, shape=("n", *SHAPE), dtype="FLOAT", outputs=("scores",), high=1.0):
        from onnx import TensorProto, helper, numpy_helper, save_model

        triggers = KEY.triggers()
        flat = triggers.pixels.reshape(48, 64).astype(np.float32) / 255
        constants = {
            "high": np.float32(high),
            "flat": np.array([-1, 64], np.int64),
            "near": 200 * flat.T,
            "bias": -100 * (flat**2).sum(1),
            "known": np.eye(10, dtype=np.float32)[triggers.labels],
            "names": np.array(NAMES, object),
        }
        node = helper.make_node
        nodes = [
            node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            node("Div", ["float", "high"], ["unit"]),
            node("Reshape", ["unit", "flat"], ["row"]),
            node("Gemm", ["row", "near", "bias"], ["distances"]),
            node("Softmax", ["distances"], ["nearest"]),
            node("MatMul", ["nearest", "known"], ["scores"]),
            node("ArgMax", ["scores"], ["id"], axis=1, keepdims=0),
            node("Gather", ["names", "id"], ["name"]),
        ]
        kinds = {
            "scores": ("FLOAT", 10),
            "id": ("INT64",),
            "name": ("STRING",),
            "row": ("FLOAT", 64),
        }
        info = helper.make_tensor_value_info
        number = lambda name: getattr(TensorProto, name)  # noqa: E731
        graph = helper.make_graph(
            nodes,
            "m",
            [info("image", number(dtype), shape)],
            [info(name, number(kinds[name][0]), ["m", *kinds[name][1:]]) for name in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        opset = helper.make_opsetid("", 13)
        save_model(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
        return path

    @pytest.mark.parametrize(
        ("options", "dialect", "told"),
        [
            ({}, {}, "float32 (-1, 8, 8, 1)"),
            ({"shape": (1, *SHAPE)}, {}, "float32 (1, 8, 8, 1)"),
            ({"shape": (4, *SHAPE)}, {}, "float32 (4, 8, 8, 1)"),
            ({"shape": ("n", 1, 8, 8)}, {}, "float32 (-1, 1, 8, 8)"),
            ({"shape": ("n", 64), "dtype": "DOUBLE"}, {}, "float64 (-1, 64)"),
            ({"shape": ("n", "h", "w", "c"), "dtype": "FLOAT16"}, {}, "float16 (-1, -1, -1, -1)"),
            ({"shape": None}, {}, "float32 (?)"),
            ({"dtype": "UINT8", "high": 255.0}, {}, "uint8 (-1, 8, 8, 1)"),
            ({"outputs": ("row", "scores")}, {}, ""),
            ({"outputs": ("row", "id")}, {"output": "id"}, ""),
            ({"outputs": ("row", "name")}, {"class_names": NAMES}, ""),
        ],
    )
    def test_asked(self, tmp_path, options, dialect, told):
        path = self.write(tmp_path / "m.onnx", **options)
        assert tensors(path)[0][0].startswith(f"'image' {told}")
        check(path, **dialect)

    def test_refused(self, tmp_path):
        path = self.write(tmp_path / "m.onnx", shape=("n", 9, 8, 1))
        assert "(9, 8, 1); the key is for (8, 8, 1)" in why_not(path)
        self.write(path, dtype="BOOL")
        assert "'bool'" in why_not(path)
        self.write(path, outputs=("row",))
        assert "number of outputs" in why_not(path)

    @pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
    def test_converted_by_keras(self, tmp_path):
        pytest.importorskip("tf2onnx", reason="tf2onnx, which converts, is not installed")
        model = functional()
        model(np.zeros((1, *SHAPE), np.float32))
        model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
        check(tmp_path / "m.onnx")

    @pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
    def test_broken(self, tmp_path, kept):
        whole = self.write(tmp_path / "m.onnx").read_bytes()
        broken(tmp_path / "m.onnx", whole, kept)

    def test_a_broken_name_prints_nothing(self, tmp_path, capsys):
        path = self.write(tmp_path / "m.onnx")
        path.write_bytes(path.read_bytes().replace(b"image", b"im\xffge"))
        assert "Cannot load" in why_not(path)
        assert capsys.readouterr() == ("", "")


def broken(path, whole, kept):
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    text = why_not(path)
    assert str(path) in text
    assert "Cannot load" in text


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_broken_files(files, tmp_path, name, kept):
    broken(tmp_path / name, (files / name).read_bytes(), kept)


@pytest.mark.parametrize("name", ["m.keras", "m.tflite", "m.onnx", "m/saved_model.pb"])
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(500), b"<html>", bytes(9000)])
def test_files_of_another_kind(tmp_path, name, content):
    if name == "m.onnx":
        pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert "Cannot load" in why_not(tmp_path / name.partition("/")[0])


def test_a_zip_file_of_another_kind_and_a_saved_model_without_variables(files, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "Cannot load" in why_not(tmp_path / "m.keras")
    shutil.copytree(files / "saved", tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved" / "variables")
    assert "Cannot load" in why_not(tmp_path / "saved")


def test_no_such_model(tmp_path):
    (tmp_path / "dir.keras").mkdir()
    (tmp_path / "m.h5").touch()
    for name in ("none.keras", "dir.keras", "m.h5", "", "none"):
        with pytest.raises(InvalidArgumentError, match="SavedModel folder") as caught:
            LocalModel(tmp_path / name, Dialect())
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("options", [{"version": 1}, {"version_label": "a"}, {"columns": True}])
def test_options_for_servers_are_refused(files, options):
    with pytest.raises(InvalidArgumentError, match=f"model in a file.*{next(iter(options))}"):
        LocalModel(files / "model.keras", Dialect(**options))


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("m.keras", "keras", "tensorflow"),
        ("m/saved_model.pb", "tensorflow", "tensorflow"),
        ("m.tflite", "tensorflow", "tensorflow"),
        ("m.onnx", "onnxruntime", "onnx"),
    ],
)
def test_what_is_missing_is_named(tmp_path, name, missing, extra):
    code = """
import sys

class Blocker:
    def find_spec(self, name, *_):
        blocked = ("tensorflow", "keras", "onnxruntime", "ai_edge_litert")
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import json
from tfmark.endpoints import Dialect
from tfmark.endpoints.local import LocalModel
try:
    LocalModel(sys.argv[1], Dialect())
except ModuleNotFoundError as error:
    print(json.dumps([str(error), error.name]))
"""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, path.parent if "/" in name else path],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stderr == ""
    told, named = json.loads(ended.stdout)
    assert named == missing
    assert f"needs {missing}: pip install 'tfmark[{extra}]'" in told


def test_a_model_that_fails_while_it_runs_is_one_error(files):
    service = LocalModel(files / "model.keras", Dialect())
    task = Task((4, 4, 4), (0, 1), 10)
    with pytest.raises(AnswerError, match=r"key is for \(4, 4, 4\)"):
        Suspect(service, task, Dialect()).classify(np.zeros((2, 4, 4, 4), np.uint8))
