"""`tfmark audit`, and the evidence and reports that `tfmark verify` writes."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import tfmark
from tests.http_server import http_server, model, watermarked
from tests.time_stamp_authority import make_authority, needs_openssl
from tfmark.cli import main
from tfmark.evidence.bundle import write_evidence
from tfmark.evidence.container import pack, unpack
from tfmark.keyfile import Records

pytestmark = needs_openssl
TOKEN = "s3cr3t-t0ken"


def run(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def innocent(rows):
    return [[0.0] * 9 + [1.0]] * len(rows)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority") / "files")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, authority):
    path = tmp_path_factory.mktemp("key") / "owner.tfmark"
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), np.uint8)
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=(8, 8, 1), num_classes=10, num_marks=48, base_images=images,
        owner="ACME Ltd",
    )  # fmt: skip
    key.records = Records(time_stamps=(authority.stamp(key.public.document),))
    key.save(path)
    return path.read_bytes()


@pytest.fixture
def key_file(saved, tmp_path):
    path = tmp_path / "owner.tfmark"
    path.write_bytes(saved)
    return path


@pytest.fixture(scope="module")
def files(saved, authority, tmp_path_factory):
    """The key; evidence against a guilty and an innocent suspect; and where the guilty one was."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "key").write_bytes(saved)
    (folder / "ca.pem").write_bytes(authority.ca_file.read_bytes())
    key = tfmark.WatermarkKey.load(folder / "key")
    for name, answer in ("guilty", watermarked(key)), ("innocent", model(innocent)):
        with http_server(answer) as server:
            tfmark.verify(server.url + "/v1/models/m", key, evidence=folder / f"{name}.zip")
    return folder


def ca(files):
    """Whom an auditor trusts to have stamped the time."""
    return "--tsa-ca", files / "ca.pem"


def opened(key_file):
    return tfmark.WatermarkKey.load(key_file).records.opened


def test_verify_says_what_it_wrote_and_how_many_marks_are_left(key_file, tmp_path):
    key = tfmark.WatermarkKey.load(key_file)
    evidence, report = tmp_path / "evidence.zip", tmp_path / "report.html"
    with http_server(watermarked(key)) as server:
        url = server.url + "/v1/models/m"
        told = run("verify", key_file, url, "--evidence", evidence, "--report", report)
        assert told.exit_code == 0, told.output
        assert f"wrote the evidence: {evidence}\n" in told.stdout
        assert f"wrote the report: {report}\n" in told.stdout
        # Its refusal to say anything of itself counts as tries, which takes a question more.
        assert "opened 12 marks for it: 36 of 48 are left" in told.stdout
        assert opened(key_file) == 12
        assert tfmark.audit(evidence).verdict.owned
        assert "The suspect carries the watermark" in report.read_text()

        again = run("verify", key_file, url, "--evidence", evidence)  # replaces nothing
        assert (again.exit_code, opened(key_file)) == (2, 12)
        assert str(evidence) in again.stderr

        other = tmp_path / "other.html"
        facts = run("verify", key_file, url, "--report", other, "--json")
    parsed = json.loads(facts.stdout)
    assert parsed["report"] == str(other)
    assert "evidence" not in parsed
    assert parsed["marks_left"] == 36 - parsed["queries"] == 48 - opened(key_file)
    assert "mark 12" in other.read_text()  # the next dispute begins at the next mark
    assert "mark 11<" not in other.read_text()


def test_verify_opens_nothing_where_there_is_nothing_to_show(key_file, tmp_path):
    evidence = tmp_path / "evidence.zip"
    url = "http://127.0.0.1:9/v1/models/m"
    told = run("verify", key_file, url, "--retries", 0, "--evidence", evidence)
    assert told.exit_code == 3
    assert "nothing was written, and no mark was opened" in told.stdout
    assert (opened(key_file), evidence.exists()) == (0, False)
    plain = run("verify", key_file, url, "--retries", 0)
    assert "opened" not in plain.stdout


@pytest.mark.parametrize(
    ("name", "code", "outcome"),
    [("guilty", 0, "It holds, and shows ownership."),
     ("innocent", 3, "It holds, but does not show ownership.")],
)  # fmt: skip
def test_audit_says_it_step_by_step(files, tmp_path, name, code, outcome):
    path, report = files / f"{name}.zip", tmp_path / "report.html"
    told = run("audit", path, *ca(files), "--report", report)
    assert (told.exit_code, told.stderr) == (code, "")
    found = tfmark.audit(path, tsa_ca=files / "ca.pem")
    lines = told.stdout.splitlines()
    assert lines[0] == str(path)
    for line, step in zip(lines[2:], found.steps, strict=False):
        assert re.fullmatch(rf"  {step.status} +{step.name} +{re.escape(step.text)}", line)
    rest = lines[3 + len(found.steps) :]
    assert rest[0] == outcome
    assert found.sentence in " ".join(rest)
    assert max(map(len, rest[:-1])) <= 88
    assert rest[-1] == f"wrote the report: {report}"
    assert "What the audit found" in report.read_text()

    facts = run("audit", path, *ca(files), "--json")
    assert facts.exit_code == code
    assert json.loads(facts.stdout) == found.to_dict()


def test_audit_names_the_step_that_is_refused(files, tmp_path):
    whole = (files / "guilty.zip").read_bytes()
    broken = tmp_path / "broken.zip"
    broken.write_bytes(whole[:4000] + bytes([whole[4000] ^ 1]) + whole[4001:])
    report = tmp_path / "report.html"
    told = run("audit", broken, "--report", report)
    assert told.exit_code == 1
    assert re.search("^  REFUSED +file ", told.stdout, re.MULTILINE)
    assert "Refused at the step 'file'" in told.stdout
    assert "It holds" not in told.stdout
    assert "no report was written" in told.stdout
    assert not report.exists()
    assert json.loads(run("audit", broken, "--json").stdout)["holds"] is False


def test_what_is_refused_may_still_be_shown_as_refused(files, tmp_path):
    key = tfmark.WatermarkKey.load(files / "key")
    evidence = tfmark.Evidence.load(files / "guilty.zip")
    swapped = (evidence.answers[0] + 1) % 10, *evidence.answers[1:]
    path, report = tmp_path / "swapped.zip", tmp_path / "report.html"
    path.write_bytes(write_evidence(replace(evidence, answers=swapped), key))
    told = run("audit", path, "--report", report)
    assert told.exit_code == 1
    assert "REFUSED      answers" in told.stdout
    assert "This evidence does not hold." in report.read_text()
    assert "The suspect carries" not in report.read_text().partition("<main>")[0]


@pytest.mark.parametrize(
    ("suspect", "code", "text"),
    [("guilty", 0, "It holds, and shows ownership."),
     ("innocent", 1, "Refused at the step 'asked again'"),
     ("unreadable", 3, "the suspect that was asked again gave no proper answer")],
)  # fmt: skip
def test_asking_again(files, tmp_path, suspect, code, text):
    key = tfmark.WatermarkKey.load(files / "key")
    answers = {"guilty": watermarked(key), "innocent": model(innocent), "unreadable": model(len)}
    with http_server(answers[suspect]) as server:
        url = server.url + "/v1/models/m"
        told = run("audit", files / "guilty.zip", *ca(files), "--ask", url,
                   "--header", f"Authorization: Bearer {TOKEN}",
                   "--report", tmp_path / "report.html")  # fmt: skip
        other = run("audit", files / "innocent.zip", "--ask", url)
    assert other.exit_code == 3  # whatever it answers now, nothing was claimed of it
    assert told.exit_code == code
    assert text in re.sub(r"\s+", " ", told.stdout)
    assert re.search(r"^  \S.* asked again  \S", told.stdout, re.MULTILINE)
    assert f"Bearer {TOKEN}" in {request.headers["Authorization"] for request in server.requests}
    page = (tmp_path / "report.html").read_text()
    assert ("Asked again, the suspect did not show the watermark." in page) == (code == 1)
    assert TOKEN not in told.output + page


def test_nobody_is_asked_unless_that_is_wanted(files, monkeypatch):
    import socket

    def fail(*_, **__):
        raise AssertionError("something was asked over the network")

    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
    assert run("audit", files / "guilty.zip", *ca(files)).exit_code == 0


def test_without_a_trusted_time_stamp_it_is_no_proof(files):
    told = run("audit", files / "guilty.zip")
    assert told.exit_code == 3
    assert "It holds, but is no proof." in told.stdout
    assert run("audit", files / "guilty.zip", *ca(files), "--alpha", 1e-12).exit_code == 3
    assert "no trusted authority says" in re.sub(r"\s+", " ", told.stdout)


def test_bad_input_is_told_in_one_line(files, tmp_path):
    (tmp_path / "none.pem").write_text("no certificate")
    (tmp_path / "there.html").write_text("mine")
    guilty = files / "guilty.zip"
    for arguments in (
        ("nosuch.zip",),
        (tmp_path,),
        (guilty, "--tsa-ca", tmp_path / "none.pem"),
        (guilty, "--tsa-ca", "nosuch.pem"),
        (guilty, "--report", tmp_path / "there.html"),
        (guilty, "--ask", "http://"),
    ):
        told = run("audit", *arguments)
        assert told.exit_code == 2, arguments
        assert len(told.stderr.splitlines()) <= 4
        assert "Traceback" not in told.output
    assert (tmp_path / "there.html").read_text() == "mine"
    (tmp_path / "picture.zip").write_bytes(b"PK\x03\x04" + bytes(5000))
    assert run("audit", tmp_path / "picture.zip").exit_code == 1


def test_a_claimants_words_cannot_paint_the_terminal(files, tmp_path):
    key = tfmark.WatermarkKey.load(files / "key")
    whole = files / "guilty.zip"
    evidence = tfmark.Evidence.load(whole)
    attack = "\x1b[2J\x1b[H\r  holds  everything\n\u202e" + "A" * 5_000_000
    exchange = evidence.exchanges[-1]
    asked = replace(exchange.asked, address=attack)
    swapped = replace(
        evidence, exchanges=(*evidence.exchanges[:-1], replace(exchange, asked=asked))
    )
    members = unpack(whole.read_bytes())
    facts = json.loads(members["evidence.json"]) | {attack: 1}
    members["evidence.json"] = json.dumps(facts, indent=1).encode() + b"\n"
    members["sha256sums"] = b"".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
        for name, content in sorted(members.items()) if name not in ("sha256sums", "signature")
    )  # fmt: skip
    for step, forged in ("requests", write_evidence(swapped, key)), ("contents", pack(members)):
        path = tmp_path / f"{step}.zip"
        path.write_bytes(forged)
        told = run("audit", path)
        assert told.exit_code == 1
        assert re.search(f"^  REFUSED +{step} .*holds +everything", told.stdout, re.MULTILINE)
        assert not [letter for letter in told.stdout if not letter.isprintable() and letter != "\n"]
        assert len(told.stdout) < 4000
