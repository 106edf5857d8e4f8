"""`tfmark.robustness`: whether the report tells the truth."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import tfmark
from tests.small_models import SHAPE, fitted, small_digits, small_key, tiny_network
from tfmark.attacks import FineTune, Flip, Jpeg, Prune
from tfmark.cli import main

BENIGN = {"prune": Prune(0.2), "jpeg": Jpeg(95)}


def forgetting(model, data, seed):
    """Gives up everything: the mark, and what the model is useful for."""
    return tiny_network()


def relearning(model, data, seed):
    """Gives up the mark alone."""
    return fitted(tiny_network(), epochs=4)


def failing(model, data, seed):
    raise RuntimeError("the disk is full")


@pytest.fixture(scope="module")
def report(small_marked):
    attacks = BENIGN | {
        "forget": forgetting, "relearn": relearning, "fail": failing,
        "refuse": FineTune("last", labels="predicted", share=0.1, epochs=1), "flip": Flip(),
    }  # fmt: skip
    done = []
    made = tfmark.robustness(
        small_marked, small_key(), small_digits(), attacks, seed=3,
        watcher=lambda count, share: done.append(count + share),
    )  # fmt: skip
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, len(attacks))
    return made


def row(report, name):
    (found,) = (row for row in report.rows if row.attack == name)
    return found


def test_what_became_of_the_mark(report, small_marked):
    assert report.stolen.attack == "none"
    assert report.stolen.verdict == tfmark.verify(small_marked, small_key())
    assert report.stolen.verdict.owned
    assert report.stolen.test_accuracy > 0.94
    for name in BENIGN:
        assert row(report, name).verdict.owned
        assert report.is_useful(row(report, name))
    for name in ("forget", "relearn"):
        assert row(report, name).verdict.status == "not shown"
        assert row(report, name).verdict.p_value > 1e-3
        assert row(report, name).watermark_unseen < 0.35
    assert report.is_useful(row(report, "relearn"))
    assert not report.is_useful(row(report, "forget"))
    assert not report.survives
    assert row(report, "fail").verdict is None
    assert "the disk is full" in row(report, "fail").problem


def test_figures_are_of_the_half_that_the_attacker_does_not_have(small_marked):
    had = []

    def looking(model, data, seed):
        had.append(data)
        return model

    x_train, y_train, x_test, y_test = small_digits()
    x_test, y_test = x_test[:41], y_test[:41]
    report = tfmark.robustness(
        small_marked, small_key(), ((x_train, y_train), (x_test, y_test)), looking
    )
    (data,) = had
    np.testing.assert_array_equal(data.pixels, x_train)
    held = {image.tobytes() for image in data.unseen}
    assert len(data.unseen) == 20
    tested = [i for i, image in enumerate(x_test) if image.tobytes() not in held]
    answers = small_marked.predict(x_test.astype("float32"), verbose=0).argmax(axis=1)
    expected = np.mean((answers == y_test)[tested])
    assert report.stolen.test_accuracy == row(report, "looking").test_accuracy == expected
    assert report.to_dict()["test_images"] == len(tested) == 21


def test_the_summary_is_honest(report):
    said = report.summary
    fatal, _, rest = said.partition("together with the model's usefulness")
    owned = sum(row.verdict.owned for row in report.tried)
    assert f"survives {owned} of 6 mild attacks" in fatal
    assert "relearn [" in fatal
    assert "forget [" in rest
    assert "relearn" not in rest
    for name in BENIGN:
        assert f"{name} [" not in said
    assert "Not possible here: fail: RuntimeError: the disk is full" in said
    assert re.search(r"Not tried:.*overwrite.*distill.*strong settings.*neuron pruning", said)


def test_a_mark_that_survives(small_marked):
    report = tfmark.robustness(small_marked, small_key(), small_digits(), BENIGN, "strong")
    assert report.survives
    assert "survives 2 of 2 strong attacks. No attack that leaves the model" in report.summary
    assert "strong settings" not in report.summary


def test_a_key_that_the_model_does_not_carry(small_marked):
    report = tfmark.robustness(small_marked, small_key(number=1), small_digits(), BENIGN)
    assert not report.survives
    assert [row.verdict.status for row in report.rows] == ["not shown"] * 3
    assert all(row.watermark_unseen < 0.35 for row in report.rows)
    assert "does not show this key's mark" in report.summary
    assert "0 of 2 attacked copies show it" in report.summary


def test_a_model_that_is_no_good_at_these_data(small_marked):
    x_train, y_train, x_test, y_test = small_digits()
    data = (x_train, y_train, x_test, (y_test + 1) % 10)
    report = tfmark.robustness(small_marked, small_key(), data, {"jpeg": Jpeg(95)})
    assert "hardly more than by guessing" in report.summary


def test_table_and_json_hold_every_row_and_no_secret(report):
    lines = report.table().splitlines()
    assert len(lines) == 2 + len(report.rows)
    assert len({len(line) for line in lines}) == 1
    assert str(report) == f"{report.table()}\n\n{report.summary}"
    facts = json.loads(json.dumps(report.to_dict()))
    assert facts["commitment"] == small_key().commitment
    assert [r["attack"] for r in facts["rows"]] == [r.attack for r in report.rows]
    assert facts["rows"][1]["verdict"]["owned"] is True
    useful = {row["attack"]: row["useful"] for row in facts["rows"]}
    assert (useful["forget"], useful["relearn"], useful["fail"]) == (False, True, None)
    labels = ", ".join(map(str, small_key().triggers().labels[:6]))
    assert labels not in json.dumps(facts)


def test_the_plot_shows_each_point_by_shape_and_with_its_p_value(report, tmp_path):
    report.plot(tmp_path / "plot.svg")
    drawn = ET.parse(tmp_path / "plot.svg").getroot()
    assert drawn.tag.endswith("svg")
    comments = (tmp_path / "plot.svg").read_text()
    for text in ("relearn", "not shown", "owned", "still useful", "by chance"):
        assert f"<!-- {text}" in comments or text in comments
    for one in report.tried:
        assert f"<!-- {one.verdict.p_value:.1e} -->" in comments
    report.plot(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert min(image.size) > 600


def test_an_attack_may_answer_by_itself(small_marked):
    """What is in front of a model may itself be attacked, and anything with `classify` will do."""

    def twice(model, data, seed):
        return Flip()(Flip()(model, data, seed), data, seed)

    report = tfmark.robustness(small_marked, small_key(), small_digits(), [twice])
    assert row(report, "twice").test_accuracy == report.stolen.test_accuracy


def test_an_attack_of_ones_own_works_as_the_documentation_shows_it(small_marked):
    text = Path("docs/robustness.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "def shuffle" in c)
    names = {
        "tfmark": tfmark, "model": small_marked, "key": small_key(), "data": small_digits()
    }  # fmt: skip
    exec(code, names)
    assert [r.attack for r in names["report"].tried] == ["jpeg", "shuffle_then_tune"]
    assert row(names["report"], "shuffle_then_tune").test_accuracy > 0.9


@pytest.mark.parametrize(
    ("attacks", "names"),
    [
        (
            ["pruning", "jpeg"],
            ["prune-global", "prune-layer", "prune-retrain", "fine-prune", "jpeg"],
        ),
        ("inputs", ["jpeg", "blur", "input-noise", "bit-depth", "resize", "flip", "shift"]),
        ([Prune(0.1), forgetting], ["Prune", "forgetting"]),
        (["flip", "flip", "inputs"], None),
    ],
)
def test_attacks_are_chosen_by_name(attacks, names):
    from tfmark.attacks.catalogue import chosen

    found = [name for name, _ in chosen(attacks, "mild")]
    if names is None:
        assert len(found) == 7
    else:
        assert list(dict.fromkeys(found)) == names


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"attacks": ["prune"]}, "names of attacks.*prune-global"),
        ({"attacks": [Prune]}, "Received: <class"),
        ({"attacks": 3}, "Received: 3"),
        ({"strength": "wild"}, "strength='wild'"),
        ({"model": "m.keras"}, "Received: str"),
        ({"data": (1, 2, 3)}, "x_train, y_train, x_test, y_test"),
        ({"model": "other classes"}, "cannot be asked|another number of outputs"),
    ],
)
def test_arguments_that_cannot_work(small_marked, changes, problem):
    given = {"model": small_marked, "key": small_key(), "data": small_digits(), "attacks": []}
    given |= changes
    if given["model"] == "other classes":
        given["model"] = tiny_network(classes=7)
    with pytest.raises(tfmark.TfmarkError, match=problem):
        tfmark.robustness(**given)


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_marked):
    folder = tmp_path_factory.mktemp("robustness")
    small_marked.save(folder / "model.keras")
    keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(10)]).save(
        folder / "innocent.keras"
    )
    small_key().save(folder / "owner.tfmark")
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(folder / "data.npz", **dict(zip(names, small_digits(), strict=True)))
    (folder / "broken.keras").write_bytes(b"PK nothing")
    return folder


@pytest.fixture(autouse=True)
def loud(monkeypatch):
    """TensorFlow may write here what it likes: to silence it is to close pytest's own stderr."""
    monkeypatch.setattr("tfmark.cli.attacking.quiet_tensorflow", lambda: None)


def command(files, *arguments, model="model.keras", data="data.npz"):
    fixed = [files / model, files / "owner.tfmark", "--data", files / data]
    return CliRunner().invoke(main, ["robustness", *map(str, [*fixed, *arguments])])


def test_the_command(files, tmp_path):
    options = ("--attacks", "prune-global,jpeg,flip", "--json", tmp_path / "r.json",
               "--plot", tmp_path / "r.png", "--seed", "3")  # fmt: skip
    ended = command(files, *options)
    facts = json.loads((tmp_path / "r.json").read_text())
    assert ended.exit_code == 0 if facts["survives"] else 1
    assert facts["survives"]
    assert [row["attack"] for row in facts["rows"]] == [
        "none", "prune-global", "prune-global", "jpeg", "flip"
    ]  # fmt: skip
    assert "owned" in ended.output
    said = " ".join(ended.output.split())
    assert " ".join(facts["summary"].split()) in said
    assert (tmp_path / "r.png").stat().st_size > 10_000
    assert command(files, "--attacks", "jpeg", model="innocent.keras").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "changes", "problem"),
    [
        (("--attacks", "nosuch"), {}, "nosuch"),
        (("--strength", "wild"), {}, "wild"),
        (("--plot", "/nowhere/at/all.png"), {}, "no folder"),
        (("--plot", "plot.exe"), {}, "png"),
        ((), {"model": "broken.keras"}, "Cannot load"),
        ((), {"data": "model.keras"}, "x_train"),
    ],
)
def test_the_command_refuses(files, arguments, changes, problem):
    ended = command(files, *arguments, **changes)
    assert ended.exit_code == 2
    assert problem in ended.output + ended.stderr
    assert "Traceback" not in ended.output


def test_the_command_lists_attacks():
    ended = CliRunner().invoke(main, ["robustness", "--list-attacks"])
    assert ended.exit_code == 0
    assert "SGD 0.05 halved every 5, 30 epochs, 20% of data" in ended.output
    assert "extract-out-of-domain" in ended.output
