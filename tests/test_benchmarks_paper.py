"""benchmarks/paper.py in small: digits, one scheme, two epochs."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
ROWS = (
    2 * 2 + 2 * 12
)  # a clean model in two settings, pruned once; two marked ones, eleven attacks each


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_killed_run_goes_on_where_it_was(benchmarks, tmp_path, capsys):
    import paper

    out = tmp_path / "paper.json"
    arguments = ["--fast", "--datasets", "digits", "--schemes", "noise", "--epochs", "2"]
    arguments += ["--images", "300", "--out", str(out), "--work", str(tmp_path / "work")]
    command = [sys.executable, str(BENCHMARKS / "paper.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as first:
        while not out.exists() and first.poll() is None:
            time.sleep(0.02)
        first.kill()
    facts = json.loads(out.read_text())
    before = facts["rows"]
    assert 0 < len(before) < ROWS
    # Whatever has figures is not done again; here, to be quick, figures that nobody measured.
    planted = before[0] | {"model": "marked", "verdict": "planted", "p_value": 0.5}
    before += [
        planted | {"setting": setting, "attack": f"prune {rate}"}
        for setting in ("one", "many")
        for rate in range(20, 100, 10)
    ]
    before += [planted | {"setting": "one", "attack": "fine-tune, momentum 0.9"}]
    before += [planted | {"setting": "many", "attack": "fine-tune"}]
    out.write_text(json.dumps(facts))
    (clean,) = tmp_path.glob("work/*/digits-clean.keras")
    made = clean.stat().st_mtime_ns

    paper.main(arguments)

    rows = json.loads(out.read_text())["rows"]
    assert rows[: len(before)] == before
    assert len(rows) == ROWS
    assert clean.stat().st_mtime_ns == made
    new = rows[len(before) :]
    assert {row["attack"] for row in new} >= {"none", "prune 10", "fine-tune"}
    assert all(("verdict" in row) == (row["setting"] == "many") for row in new)
    text = out.with_suffix(".md").read_text()
    assert text in capsys.readouterr().out
    assert out.with_name("paper_digits.png").stat().st_size > 10_000

    with pytest.raises(SystemExit, match="other settings"):
        paper.main([*arguments, "--epochs", "3"])


def test_an_interrupted_training_goes_on_as_it_would_have(benchmarks, tmp_path, digits):
    """Same order of images, same dropout, same momentum."""
    from reproduction import training

    whole, part = tmp_path / "whole.keras", tmp_path / "part.keras"

    def keep(data, epoch):
        if epoch == 1:
            shutil.copy(whole, part)
        return data

    images, labels = digits.x_train[:300], digits.y_train[:300]
    at_once = training.train(images, labels, 10, 2, 0.9, 7, whole, mark=keep)
    resumed = training.train(images, labels, 10, 2, 0.9, 7, part)
    for one, other in zip(at_once.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_figures_stand_beside_those_of_the_paper_and_differences_are_said(benchmarks, tmp_path):
    import paper
    from reproduction import report

    about = {"dataset": "cifar10", "setting": "one", "scheme": "noise", "unseen": 0.9}
    rows = [
        about | {"model": "clean", "attack": "none", "test": 0.7, "trained": 0.1},
        about | {"model": "marked", "attack": "none", "test": 0.7855, "trained": 0.9990},
        about | {"model": "marked", "attack": "prune 90", "test": 0.5, "trained": 0.65},
    ]
    settings = paper.FULL | {"fast": False, "momentum": 0.9, "seed": 0}
    facts = {"command": "paper", "settings": settings, "versions": {"keras": "3"}, "rows": rows}
    text = report.write(facts, tmp_path / "paper.json")
    assert (
        "| noise | 70.00 / 78.6 | 78.55 / 78.49 | 99.90 / 99.86 | 90.00 / 94.1 | 90.00 |  |" in text
    )
    assert "50.00 / 59.29 | 65.00 / 65.13 |" in text
    assert text.rstrip().endswith("- noise: test accuracy in 1 figure, by -9.29 (prune 90)")
    assert (tmp_path / "paper_cifar10.png").stat().st_size > 10_000
