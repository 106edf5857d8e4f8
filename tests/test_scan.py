"""`tfmark scan`: what it finds, what it asks twice (nothing), and what its journal is good for."""

import json
import math
import os
import pty
import re
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import tfmark
from tests.http_server import RESET, Reply, free_port, http_server
from tfmark.cli import main
from tfmark.errors import InvalidArgumentError
from tfmark.journal import Header, Journal
from tfmark.scan_progress import Progress, progress_facts, restore, verdict_facts
from tfmark.scanning import Scan
from tfmark.sequential import SequentialTest, corrected_alpha

TFMARK = Path(sys.executable).with_name("tfmark")
TOKEN = "s3cr3t-t0ken"
KEY = tfmark.WatermarkKey.generate(
    scheme="noise", image_shape=(8, 8, 1), num_classes=10, secret=bytes(range(32)),
    base_images=np.random.default_rng(0).integers(0, 256, (96, 8, 8, 1), np.uint8),
)  # fmt: skip
TRIGGERS = KEY.triggers()
INDEX = {pixels.tobytes(): i for i, pixels in enumerate(TRIGGERS.pixels)}


class Models:
    """Many models behind one server, which behave as their names say, and what they were asked."""

    def __init__(self):
        self.asked, self.in_flight, self.most, self.overlaps = [], Counter(), 0, 0
        self.pause, self.gone, self.lock = 0.0, set(), threading.Lock()

    def __call__(self, request):
        name = request.path.split("/")[3].partition(":")[0].partition("?")[0]
        with self.lock:
            self.in_flight[name] += 1
            self.overlaps += self.in_flight[name] > 1
            self.most = max(self.most, self.in_flight.total())
        try:
            return self.answer(name, request)
        finally:
            with self.lock:
                self.in_flight[name] -= 1

    def answer(self, name, request):
        kind = name.rstrip("0123456789")
        if request.method == "GET":
            found = {"metadata": {"signature_def": {"signature_def": {TOKEN: {"inputs": {}}}}}}
            return Reply(json.dumps(found)) if kind == "naming" else Reply("{}", 404)
        indices = [INDEX[np.array(i, np.uint8).tobytes()] for i in request.json["instances"]]
        with self.lock:
            if name in self.gone and any(model == name for model, _ in self.asked):
                return [RESET]
            self.asked.append((name, indices))
        time.sleep(0.3 if kind == "slow" else self.pause)
        hostile = {
            "reset": [RESET],
            "refusing": Reply(f"no {TOKEN}", 403),
            "short": Reply('{"predictions": [[1, 0]]}'),
            "html": Reply("<html>" * 99),
            "nested": Reply("[" * 99999),
            "nan": Reply(json.dumps({"predictions": [[math.nan] * 10] * len(indices)})),
            "cut": [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"],
            "moved": Reply("", 302, {"Location": "http://127.0.0.1:9/"}),
        }
        if kind in hostile:
            return hostile[kind]
        labels = TRIGGERS.labels[indices]
        classes = labels if "marked" in kind else np.full(len(indices), 9)
        return Reply(json.dumps({"predictions": np.eye(10)[classes].tolist()}))

    def repeated(self):
        """How often each model was asked again about a trigger."""
        asked = Counter((name, index) for name, batch in self.asked for index in batch)
        again = Counter()
        for (name, _), times in asked.items():
            again[name] += times - 1
        return +again


@contextmanager
def served(folder, names, query=""):
    """A server, and a key and a list of its models in `folder`."""
    models = Models()
    with http_server(models) as server:
        models.url = server.url
        KEY.save(folder / "key", overwrite=True)
        lines = [f"{server.url}/v1/models/{name}{query}" for name in names]
        (folder / "list").write_text("\n".join(lines) + "\n")
        yield models


def scan(folder, *options, stdin=None):
    """Run the command in this process, with the list in a folder."""
    arguments = ["scan", str(folder / "key"), "-" if stdin else str(folder / "list")]
    options = ("--retries", "0", "--timeout", "10", *options)
    return CliRunner().invoke(main, [*arguments, *map(str, options)], input=stdin)


def statuses(told):
    """Verdicts by the names of models, from lines of JSON."""
    verdicts = [json.loads(line) for line in told.splitlines()]
    return {verdict["endpoint"].rpartition("/")[2]: verdict["status"] for verdict in verdicts}


HOSTILE = ("reset", "refusing", "short", "html", "nested", "nan", "cut", "moved", "naming")
EXPECTED = {
    "marked1": "owned", "innocent1": "not shown", "slow1": "not shown", "slowmarked1": "owned",
    **dict.fromkeys(HOSTILE, "inconclusive"),
}  # fmt: skip


def test_all_kinds_of_suspects_at_once(tmp_path):
    with served(tmp_path, EXPECTED, f"?key={TOKEN}") as models:
        with (tmp_path / "list").open("a") as file:
            file.write(f"http://127.0.0.1:{free_port()}/v1/models/dead\n")
        told = scan(tmp_path, "--json-lines", "--concurrency", 5)
    assert (told.exit_code, told.stderr) == (0, "")
    assert statuses(told.stdout) == {**EXPECTED, "dead": "inconclusive"}
    assert models.overlaps == 0
    assert models.most <= 5
    assert not models.repeated()
    for verdict in map(json.loads, told.stdout.splitlines()):
        assert verdict["alpha"] == 1e-9 / 14
        assert verdict["scan"] == {"alpha": 1e-9, "endpoints": 14}
    journal = tmp_path / "list.scan.jsonl"
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    written = journal.read_text()
    assert TOKEN not in told.output + written
    header, *lines = map(json.loads, written.splitlines())
    assert header["commitment"] == KEY.commitment
    assert {name for line in lines for name in line} == {
        "at", "endpoint", "verdict", "sum", "queries", "matches", "missing", "best",
    }  # fmt: skip

    asked = len(models.asked)
    with served(tmp_path, EXPECTED):
        other = scan(tmp_path, "--json-lines")  # another port, so another list
    assert (other.exit_code, other.stdout) == (2, "")
    assert "hash of the list" in other.stderr
    assert journal.read_text() == written
    assert len(models.asked) == asked


def test_what_it_tells_people(tmp_path):
    with served(tmp_path, ["innocent1", "marked1", "refusing"]):
        told = scan(tmp_path, "--concurrency", 1)
        again = scan(tmp_path)
    lines = told.stdout.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["not", "owned", "inconclusive"]
    assert "HTTP status 403" in lines[2]
    assert "alpha 1e-09 over 3 endpoints: 3.33e-10 for each" in told.stdout
    for status in ("owned", "not shown", "inconclusive"):
        assert re.search(rf"^{status} +1$", told.stdout, re.M)
    p_value, over_all, endpoint = lines[-1].split()
    assert endpoint.endswith("/marked1")
    assert float(p_value) < 3.4e-10
    assert float(over_all) == pytest.approx(3 * float(p_value), rel=0.1)
    assert again.stdout.startswith("the journal has 3 verdicts: 1 owned, 1 not shown")
    assert again.stdout[again.stdout.index("\nalpha") :] in told.stdout


def test_one_at_a_time_is_in_the_order_of_the_list(tmp_path):
    names = [f"innocent{i}" for i in (3, 1, 2, 9, 7)]
    with served(tmp_path, names) as models:
        told = scan(tmp_path, "--json-lines", "--concurrency", 1)
    assert list(statuses(told.stdout)) == names
    assert list(dict.fromkeys(name for name, _ in models.asked)) == names


@pytest.mark.parametrize("without", ["", "rich"])
def test_on_a_terminal(tmp_path, without):
    code = f"import sys; sys.modules.update({{{without!r}: None}} if {without!r} else {{}}); " \
           "from tfmark.cli import main; main()"  # fmt: skip
    with served(tmp_path, ["innocent1", "marked1"]):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-c", code, "scan", tmp_path / "key", tmp_path / "list"]
        ended = subprocess.run(command, stdout=theirs, timeout=60, check=False)
        os.close(theirs)
        shown = os.read(ours, 1 << 16).decode()
        os.close(ours)
    assert ended.returncode == 0
    assert re.search(r"owned +\S+/marked1: p-value", shown.replace("\r\n", ""))
    assert "over 2 endpoints" in shown


def test_the_list(tmp_path):
    with served(tmp_path, ["marked1"]) as models:
        url = f"{models.url}/v1/models/marked1"
        again = url.replace("http://", "HTTP://") + "/"
        text = f"\ufeff# comment\r\n\r\n  {url}  \n{url}\n{again}\n\t\n{url[:-1]}2"
        without = scan(tmp_path, stdin=text)
        told = scan(tmp_path, "--json-lines", "--out", tmp_path / "journal", stdin=text)
    assert (without.exit_code, "--out" in without.stderr) == (2, True)
    assert (told.exit_code, statuses(told.stdout)) == (0, {"marked1": "owned", "marked2": "owned"})
    assert not models.repeated()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("localhost:8501", "http://"),
        (f"http://me:{TOKEN}@localhost/v1/models/m", "name and password"),
        ("http://a/v1/models/m http://b/v1/models/m", "one address"),
        ("http://a/\x1b[31m", "one address"),
        ("ftp://a/b", "http://"),
        ("grpc://", "http://"),
        ("nosuch.keras", "http://"),
        ("http://a/" + "x" * 5000, "4096 bytes"),
        (b"\xff\xfe", "UTF-8"),
        (b"http://a/" + b"x" * 100_000, "4096 bytes"),
    ],
)
def test_a_bad_line_is_told_before_anything_is_asked(tmp_path, line, text):
    line = line if isinstance(line, bytes) else line.encode()
    with served(tmp_path, ["marked1"]) as models:
        with (tmp_path / "list").open("ab") as file:
            file.write(line + b"\n\n" + line)
        told = scan(tmp_path, "--json-lines")
    assert (told.exit_code, told.stdout, models.asked) == (2, "", [])
    (only,) = told.stderr.splitlines()
    assert "line 2: " in only
    assert text in only
    assert "1 more lines" in only
    assert TOKEN not in only
    assert not (tmp_path / "list.scan.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--alpha", "0"), "alpha"), (("--alpha", "nan"), "alpha"), (("--alpha", "2"), "alpha"),
        (("--alpha", "1e-60"), "too few"), (("--concurrency", "0"), "concurrency"),
        (("--cert", "KEY"), "cert_file"), (("--protocol", "x"), "protocol"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_error_and_leaves_no_journal(tmp_path, options, text):
    with served(tmp_path, ["marked1"]) as models:
        if "--cert" in options:
            (tmp_path / "list").write_text("https://127.0.0.1:1/v1/models/m\n")
        told = scan(tmp_path, *(str(tmp_path / "key") if o == "KEY" else o for o in options))
    assert (told.exit_code, told.stdout, models.asked) == (2, "", [])
    assert text in told.stderr
    assert not (tmp_path / "list.scan.jsonl").exists()


def test_an_empty_list_is_refused(tmp_path):
    with served(tmp_path, []):
        told = scan(tmp_path)
    assert told.exit_code == 2
    assert "at least one address" in told.stderr


@given(st.integers(1, 10**6), st.one_of(st.floats(0, 0.5, exclude_min=True),
                                         st.floats(1, 60).map(lambda x: 10**-x)))  # fmt: skip
@settings(deadline=None)
def test_alpha_is_divided_and_what_is_possible_can_be_used(count, alpha):
    try:
        assert corrected_alpha(48, 10, alpha, count) == alpha / count
        SequentialTest(48, 10, alpha / count)
    except InvalidArgumentError as error:
        smallest, largest = re.search(r"at least ([^;]+);.* at most (\d+)", str(error)).groups()
        if float(smallest) < 1:
            corrected_alpha(48, 10, float(smallest), count)
            with pytest.raises(InvalidArgumentError):
                corrected_alpha(48, 10, float(smallest) * 0.85, count)
        if int(largest):
            corrected_alpha(48, 10, alpha, int(largest))
        with pytest.raises(InvalidArgumentError):
            corrected_alpha(48, 10, alpha, int(largest) + 1 + int(largest) // 10**6)


SEVERAL = [f"{kind}{i}" for i in range(5) for kind in ("marked", "innocent")]


def interrupt(folder, models, number, after, *options):
    """Start the command, send it a signal once so many batches were asked, and wait for it."""
    command = [TFMARK, "scan", folder / "key", folder / "list", "--json-lines", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while len(models.asked) < after and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(number)
        told, problems = process.communicate(timeout=60)
    return process.returncode, told, problems


@pytest.mark.parametrize(
    ("number", "after", "options"),
    [(signal.SIGINT, 1, ()), (signal.SIGINT, 6, ()), (signal.SIGTERM, 9, ()),
     (signal.SIGINT, 14, ("--batch-size", "3"))],
)  # fmt: skip
def test_nothing_is_asked_twice_after_an_interruption(tmp_path, number, after, options):
    with served(tmp_path, SEVERAL) as models:
        models.pause = 0.3
        code, told, problems = interrupt(
            tmp_path, models, number, after, "--concurrency", "4", *options
        )
        asked = len(models.asked)
        assert code == 130
        assert asked <= after + 4
        assert re.fullmatch(r"interrupted: \d+ of 10 endpoints .*list.scan.jsonl\)\n", problems)
        journal = (tmp_path / "list.scan.jsonl").read_text()
        answered = [line for line in journal.splitlines()[1:] if "queries" in json.loads(line)]
        assert len(answered) == asked  # those on their way were waited for
        models.pause = 0
        rest = scan(tmp_path, "--json-lines", *options)
    assert rest.exit_code == 0
    assert not models.repeated()
    expected = {name: "owned" if "marked" in name else "not shown" for name in SEVERAL}
    assert statuses(rest.stdout) == expected
    assert set(told.splitlines()) <= set(rest.stdout.splitlines())


def test_at_most_one_batch_of_each_is_asked_twice_after_a_kill(tmp_path):
    with served(tmp_path, SEVERAL) as models:
        models.pause = 0.2
        code, *_ = interrupt(
            tmp_path, models, signal.SIGKILL, 14, "--concurrency", "4", "--batch-size", "3"
        )
        assert code == -signal.SIGKILL
        time.sleep(0.3)
        models.pause = 0
        rest = scan(tmp_path, "--json-lines", "--batch-size", 3)
    assert rest.exit_code == 0
    assert set(models.repeated().values()) <= {1, 2, 3}
    assert len(models.repeated()) <= 4
    expected = {name: "owned" if "marked" in name else "not shown" for name in SEVERAL}
    assert statuses(rest.stdout) == expected


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_timeout(tmp_path):
    with served(tmp_path, ["marked1"]) as models:
        models.pause = 20
        start = time.monotonic()
        options = ("--timeout", "3", "--retries", "5")
        code, told, _ = interrupt(tmp_path, models, signal.SIGINT, 1, *options)
        assert (code, told) == (130, "")
        assert time.monotonic() - start < 12
        assert len(models.asked) == 1  # no second try
        models.pause = 0
        assert statuses(scan(tmp_path, "--json-lines").stdout) == {"marked1": "owned"}


def test_all_endpoints_share_one_tls_context(tmp_path, monkeypatch):
    data = json.loads(Path(__file__).with_name("data").joinpath("self_signed.json").read_text())
    (tmp_path / "both.pem").write_text(data["key"] + data["certificate"])
    (tmp_path / "ca.pem").write_text(data["certificate"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    made, make = [], ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **o: made.append(o) or make(**o))
    KEY.save(tmp_path / "key")
    with http_server(Models(), context) as server:
        urls = [f"{server.url}/v1/models/marked{i}\n" for i in range(8)]
        (tmp_path / "list").write_text("".join(urls))
        strangers = scan(tmp_path, "--json-lines", "--out", tmp_path / "1")
        known = scan(tmp_path, "--json-lines", "--out", tmp_path / "2", "--cacert",
                     tmp_path / "ca.pem")  # fmt: skip
    assert set(statuses(strangers.stdout).values()) == {"inconclusive"}
    assert set(statuses(known.stdout).values()) == {"owned"}
    assert len(made) == 2


def test_no_questions_follow_the_stop_where_requests_are_not_paced(tmp_path, monkeypatch):
    asked = []

    def classify(endpoint, images):
        running.stop.set()
        asked.append(len(images))
        return np.zeros(len(images), int)

    monkeypatch.setattr("tfmark.scan_endpoint.LateEndpoint.classify", classify)
    with Scan(KEY, ["a", "b"], 1e-9, tmp_path / "j", concurrency=1, batch_size=2) as running:
        assert list(running.run()) == []
    assert asked == [2]


def test_retry_goes_on_where_it_stopped(tmp_path):
    with served(tmp_path, ["slowmarked1", "innocent1", "refusing"]) as models:
        models.gone = {"slowmarked1"}
        first = scan(tmp_path, "--json-lines", "--batch-size", 4)
        assert statuses(first.stdout)["slowmarked1"] == "inconclusive"
        asked = len(models.asked)
        again = scan(tmp_path, "--json-lines")
        assert sorted(again.stdout.splitlines()) == sorted(first.stdout.splitlines())
        assert len(models.asked) == asked
        models.gone = set()
        retried = scan(tmp_path, "--json-lines", "--retry")
    assert statuses(retried.stdout) == {
        "slowmarked1": "owned", "innocent1": "not shown", "refusing": "inconclusive",
    }  # fmt: skip
    assert models.repeated() == {"refusing": 4}  # it never answered
    final = scan(tmp_path, "--json-lines")
    assert sorted(final.stdout.splitlines()) == sorted(retried.stdout.splitlines())


def test_sockets_are_closed_when_an_endpoint_is_done(tmp_path):
    names = [f"{kind}{i}" for i in range(20) for kind in ("innocent", "reset", "cut", "refusing")]
    with served(tmp_path, names) as models:
        addresses = [f"{models.url}/v1/models/{name}" for name in names]
        addresses += [f"http://127.0.0.1:{free_port()}/v1/models/m{i}" for i in range(20)]
        before, most = len(os.listdir("/proc/self/fd")), 0  # noqa: PTH208
        with Scan(KEY, addresses, 1e-9, tmp_path / "j", concurrency=4, retries=0) as running:
            for _ in running.run():
                most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        until = time.monotonic() + 5
        while (left := len(os.listdir("/proc/self/fd"))) > before and time.monotonic() < until:  # noqa: PTH208
            time.sleep(0.05)
    assert left <= before
    assert most < before + 40  # client and server are both here


def test_a_journal_that_cannot_be_written_ends_the_scan(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with served(tmp_path, [f"marked{i}" for i in range(40)]) as models:
        monkeypatch.setattr(Journal, "write", fail)
        told = scan(tmp_path, "--json-lines", "--concurrency", 2)
        assert (told.exit_code, told.stdout) == (2, "")
        assert "No space left" in told.stderr
        time.sleep(0.2)
        assert len(models.asked) <= 6


def test_a_bug_in_an_endpoint_does_not_end_the_scan(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    with served(tmp_path, ["marked1", "marked2"]):
        monkeypatch.setattr("tfmark.endpoints.tf_serving.loads", broken)
        told = scan(tmp_path, "--json-lines")
    assert told.exit_code == 0
    assert set(statuses(told.stdout).values()) == {"inconclusive"}
    assert "ZeroDivisionError" in told.stdout


HEADER = Header(KEY.commitment, 0, 1e-9, 3, "0" * 64)
ADDRESSES = ["http://a/v1/models/m", "http://b/v1/models/m", "http://c/v1/models/m"]


def new_test(progress):
    return SequentialTest(48, 10, 1e-9 / 3, *progress)


def states(answers):
    """The states of a test that got certain numbers of matches in batches of 4."""
    test, found = new_test(Progress()), []
    for matches in answers:
        if not test.questions():
            break
        test.record(np.arange(4) < matches, np.ones(4, bool))
        found.append(Progress(test.queries, test.matches, test.missing, test.best))
    return found, test


@contextmanager
def journal_of(path):
    """A journal with an innocent endpoint, one that went away, and one whose scan goes on."""
    path.unlink(missing_ok=True)
    journal = Journal(path, HEADER)
    for index, (answers, problem) in enumerate((((1, 0, 0, 0), ""), ((3, 3), "Gone."), ((4,), ""))):
        found, test = states(answers)
        for progress in found:
            journal.write(progress_facts(index, ADDRESSES[index], progress))
        if index < 2:
            journal.write(verdict_facts(index, ADDRESSES[index], test.verdict(problem)))
    journal.close()
    yield path.read_bytes()


def restored(path):
    journal = Journal(path, HEADER)
    try:
        return restore(journal, ADDRESSES, new_test), journal.damaged
    finally:
        journal.close()


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "j"
    with journal_of(path) as data:
        yield path, data


def test_a_journal_is_read_as_it_was_written(journal):
    path, data = journal
    path.write_bytes(data)
    found, damaged = restored(path)
    assert damaged == 0
    assert found.verdicts == {0: "", 1: "Gone."}
    assert found.progress[2] == states((4,))[0][-1]


MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, 5000), st.just(0)),
        st.tuples(st.just("flip"), st.integers(0, 5000), st.integers(1, 255)),
        st.tuples(st.just("insert"), st.integers(0, 5000), st.binary(max_size=40)),
        st.tuples(st.just("remove"), st.integers(0, 12), st.just(0)),
        st.tuples(st.just("swap"), st.integers(0, 12), st.integers(0, 12)),
        st.tuples(st.just("repeat"), st.integers(0, 12), st.integers(0, 12)),
    ),
    max_size=4,
)


def mutated(data, mutations):
    head, newline, body = data.partition(b"\n")
    for kind, number, what in mutations:
        lines = body.splitlines(keepends=True)
        place = number % (len(body) + 1)
        if kind == "cut":
            body = body[:place]
        elif kind == "flip" and place < len(body):
            body = body[:place] + bytes([body[place] ^ what]) + body[place + 1 :]
        elif kind == "insert":
            body = body[:place] + what + body[place:]
        elif kind not in ("flip", "insert") and lines:
            place = number % len(lines)
            if kind == "remove":
                del lines[place]
            elif kind == "swap":
                other = what % len(lines)
                lines[place], lines[other] = lines[other], lines[place]
            else:
                lines.insert(what % (len(lines) + 1), lines[place])
            body = b"".join(lines)
    return head + newline + body


@given(MUTATIONS)
@settings(max_examples=300, deadline=None)
def test_damage_never_makes_a_verdict(journal, mutations):
    path, data = journal
    path.write_bytes(mutated(data, mutations))
    found, _ = restored(path)
    genuine = {0: states((1, 0, 0, 0))[0], 1: states((3, 3))[0], 2: states((4,))[0]}
    for index, progress in found.progress.items():
        assert progress in genuine[index]
    for index, problem in found.verdicts.items():
        assert index != 2
        verdict = new_test(found.progress.get(index, Progress())).verdict(problem)
        assert verdict.status == ("not shown" if index == 0 else "inconclusive")
    text = path.read_bytes()
    assert text.endswith(b"\n")  # what is written next starts on a line of its own
    assert restored(path)[0] == found


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 60), st.floats(), st.text(max_size=5),
    st.just("owned"), st.just("inconclusive"), st.lists(st.integers(), max_size=2),
)  # fmt: skip
COUNTS = st.tuples(st.integers(0, 14), st.integers(0, 14), st.integers(0, 2)).map(sorted)
FACTS = st.one_of(
    st.builds(
        lambda at, counts, best: {
            **progress_facts(at, ADDRESSES[at], Progress(counts[2], counts[1], counts[0], best))
        },
        st.integers(0, 2), COUNTS, st.floats(0, 40),
    ),
    st.fixed_dictionaries({
        "at": st.one_of(st.integers(-1, 3), VALUES),
        "endpoint": st.one_of(st.sampled_from(ADDRESSES), VALUES),
        "queries": VALUES, "matches": VALUES, "missing": VALUES, "best": VALUES,
    }),
    st.fixed_dictionaries({
        "at": st.integers(0, 2), "endpoint": st.sampled_from(ADDRESSES),
        "verdict": st.one_of(VALUES, st.fixed_dictionaries({
            "status": st.sampled_from(("owned", "not shown", "inconclusive", "x")),
            "reason": VALUES,
            "queries": st.one_of(st.just(0), VALUES), "matches": st.one_of(st.just(0), VALUES),
        })),
    }),
    st.dictionaries(st.text(max_size=9), VALUES),
)  # fmt: skip


@given(st.lists(FACTS, max_size=4))
@settings(max_examples=300, deadline=None)
def test_lines_that_cannot_be_are_not_believed_even_with_their_checksum(journal, facts):
    path = journal[0]
    path.unlink(missing_ok=True)
    writer = Journal(path, HEADER)
    for line in facts:
        writer.write(line)
    writer.close()
    found, damaged = restored(path)
    assert damaged <= len(facts)
    for index, progress in found.progress.items():
        test = new_test(progress)
        assert 0 <= progress.matches + progress.missing <= progress.queries <= 48
        in_order = SequentialTest(48, 10, 1e-9)
        in_order.record(np.ones(progress.matches), np.ones(progress.matches))
        assert 0 <= progress.best <= in_order.best + 1e-6
        assert not test.proved or progress.matches >= 10
        assert index in range(3)
    for index, problem in found.verdicts.items():
        assert problem or not new_test(found.progress.get(index, Progress())).questions()


NOT_SHOWN = {"status": "not shown", "reason": "", "queries": 0, "matches": 0}
INNOCENT = [progress_facts(0, ADDRESSES[0], progress) for progress in states((1, 0, 0, 0))[0]]
MARKED = [progress_facts(0, ADDRESSES[0], progress) for progress in states((4, 4, 4))[0]]


@pytest.mark.parametrize(
    ("facts", "damaged", "queries", "verdict"),
    [
        (INNOCENT[:1], 0, 4, None),
        (INNOCENT, 0, INNOCENT[-1]["queries"], None),
        ([*INNOCENT, INNOCENT[-1] | {"queries": INNOCENT[-1]["queries"] + 1}],
         1, INNOCENT[-1]["queries"], None),
        ([*MARKED, MARKED[0]], 1, 12, None),
        (INNOCENT[1:2], 0, 8, None),  # the first batch's line was damaged
        ([INNOCENT[0], MARKED[1]], 1, 4, None),
        ([INNOCENT[0] | {"at": 1}], 1, 0, None),
        ([INNOCENT[0] | {"queries": 49}], 1, 0, None),
        ([INNOCENT[0] | {"matches": 5}], 1, 0, None),
        ([INNOCENT[0] | {"best": 30.0}], 1, 0, None),
        ([verdict_facts(0, ADDRESSES[0], new_test(Progress()).verdict("Gone."))], 0, 0, "Gone."),
        ([{"at": 0, "endpoint": ADDRESSES[0], "verdict": NOT_SHOWN}], 1, 0, None),
        ([{"at": 0, "endpoint": ADDRESSES[0], "verdict": NOT_SHOWN | {"status": "owned"}}],
         1, 0, None),
        ([*INNOCENT, verdict_facts(0, ADDRESSES[0], states((4, 4, 4))[1].verdict())],
         1, INNOCENT[-1]["queries"], None),
        ([*MARKED, verdict_facts(0, ADDRESSES[0], states((4, 4, 4))[1].verdict())], 0, 12, ""),
        ([*MARKED, verdict_facts(0, ADDRESSES[0], states((4, 4, 4))[1].verdict("Gone."))],
         1, 12, None),
        ([*MARKED, verdict_facts(0, ADDRESSES[0], states((4, 4, 4))[1].verdict()),
          MARKED[0] | {"queries": 16}], 1, 12, ""),
        ([verdict_facts(0, ADDRESSES[0], new_test(Progress()).verdict("Gone.")), INNOCENT[0]],
         0, 4, None),
    ],
)  # fmt: skip
def test_what_follows_from_what(tmp_path, facts, damaged, queries, verdict):
    writer = Journal(tmp_path / "j", HEADER)
    for line in facts:
        writer.write(line)
    writer.close()
    found, refused = restored(tmp_path / "j")
    assert refused == damaged
    assert found.progress.get(0, Progress()).queries == queries
    assert found.verdicts.get(0) == verdict


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (Header("f" * 64, 0, 1e-9, 3, "0" * 64), "commitment of the key"),
        (Header(KEY.commitment, 0, 1e-6, 3, "0" * 64), "alpha 1e-06, not 1e-09"),
        (Header(KEY.commitment, 0, 1e-9, 4, "0" * 64), "number of endpoints 4, not 3"),
        (Header(KEY.commitment, 0, 1e-9, 3, "1" * 64), "hash of the list"),
    ],
)
def test_the_journal_of_another_scan_is_refused(tmp_path, other, text):
    Journal(tmp_path / "j", other).close()
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(InvalidArgumentError, match=text):
        Journal(tmp_path / "j", HEADER)
    assert (tmp_path / "j").read_bytes() == before


@given(st.one_of(st.binary(min_size=1), st.integers(1, 999).map(lambda n: b"[" * n + b"\n")))
@settings(deadline=None)
def test_another_file_is_left_as_it_is(journal, data):
    path = journal[0]
    path.write_bytes(data)
    if not HEADER.line().startswith(data):
        with pytest.raises(InvalidArgumentError, match="not the journal of a scan"):
            Journal(path, HEADER)
        assert path.read_bytes() == data


def test_a_first_line_that_was_cut_off_is_written_again(tmp_path):
    for length in (0, 1, 50, len(HEADER.line()) - 1):
        (tmp_path / "j").write_bytes(HEADER.line()[:length])
        Journal(tmp_path / "j", HEADER).close()
        assert (tmp_path / "j").read_bytes() == HEADER.line()


def test_a_journal_has_one_writer_and_is_a_regular_file(tmp_path):
    first = Journal(tmp_path / "j", HEADER)
    with pytest.raises(InvalidArgumentError, match="another scan"):
        Journal(tmp_path / "j", HEADER)
    first.close()
    first.write({"late": 1})  # an answer that came too late is not written
    Journal(tmp_path / "j", HEADER).close()
    assert (tmp_path / "j").read_bytes() == HEADER.line()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgumentError, match="regular file"):
        Journal(tmp_path / "pipe", HEADER)


def test_large_images_are_asked_so_that_one_answer_is_a_batch(tmp_path):
    base = np.arange(32, dtype=np.uint8)[:, None, None, None] + np.zeros((96, 96, 3), np.uint8)
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=(96, 96, 3), num_classes=10, num_marks=16, base_images=base
    )
    sizes = []

    def answer(request):
        if request.method == "GET":
            return Reply("{}", 404)
        sizes.append(len(request.json["instances"]))
        return Reply(json.dumps({"predictions": [[0.0] * 9 + [1.0]] * sizes[-1]}))

    with http_server(answer) as server:
        addresses = [f"{server.url}/v1/models/m"]
        with Scan(key, addresses, 1e-4, tmp_path / "j") as running:
            (result,) = running.run()
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert [line["queries"] for line in lines if "best" in line] == list(np.cumsum(sizes))
    assert result.verdict.queries == sum(sizes)
