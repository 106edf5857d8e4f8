"""The page that shows evidence: what is in it, that it runs nothing, that all can read it."""

import base64
import hashlib
import html
import io
import json
import math
import re
import shutil
import ssl
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tfmark
from tests.chromium import browser, needs_chromium, opened
from tests.http_server import http_server, model, watermarked
from tests.time_stamp_authority import certify, der, make_authority, needs_openssl
from tests.time_stamp_authority import new_key as new_server_key
from tfmark.endpoints.dialect import Dialect
from tfmark.evidence.openings import triggers_of
from tfmark.evidence.report import render_report
from tfmark.evidence.report.images import BUDGET, TILE, longest_side, picture
from tfmark.evidence.report.numbers import odds, power_of_ten, shown
from tfmark.evidence.steps import HOLDS, Audit, Step
from tfmark.evidence.tape import Failure
from tfmark.visible import visible

SHAPE = (8, 8, 1)
SCRIPT = "<script>window.ran = 1</script>"
ATTACKS = (
    SCRIPT,
    "<img src=x onerror='window.ran = 1'>",
    "\"'><svg onload=window.ran=1>",
    "</bdi></dd></dl></style></title><iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
    "{{ 7 * 7 }}{% include 'style.css' %}",
    "<style>*{display:none}</style><link rel=stylesheet href=http://127.0.0.1:9/x>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "]]><!-- <a href=javascript:window.ran=1>",
)
BIDI, ESCAPE = "\u202egpj.exe\u202c", "\x1b[2J\x00\u200b\u3164"


def new_key(shape=SHAPE, marks=48, classes=10, scheme="noise", owner="ACME Ltd"):
    images = np.random.default_rng(0).integers(0, 256, (2 * marks, *shape), np.uint8)
    return tfmark.WatermarkKey.generate(
        scheme=scheme, image_shape=shape, num_classes=classes, num_marks=marks,
        base_images=images, secret=bytes(32), owner=owner,
        text="HI" if scheme == "content" else None,
    )  # fmt: skip


class Suspect:
    """Knows the labels of all marks but those in `misses`; has none for those in `missing`."""

    def __init__(self, key, misses=(), missing=()):
        triggers = key.triggers()
        self.index = {pixels.tobytes(): i for i, pixels in enumerate(triggers.pixels)}
        self.answers = triggers.labels.copy()
        self.answers[list(misses)] = (self.answers[list(misses)] + 1) % key.spec.num_classes
        self.answers[list(missing)] = -1

    def classify(self, images):
        return self.answers[[self.index[image.tobytes()] for image in images]]


def evidence_of(key, suspect, folder, **options):
    path = folder / f"{len(list(folder.iterdir()))}.zip"
    tfmark.verify(suspect, key, evidence=path, **options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def file(folder):
    """Evidence of a service with TLS, whose key had opened 11 marks before."""
    key = new_key()
    key.open_next(11)
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    (folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
    with http_server(watermarked(key), context) as server:
        url = server.url + "/v1/models/digits"
        return evidence_of(key, url, folder, ca_file=folder / "ca.pem")


@pytest.fixture(scope="module")
def over_network(file):
    return tfmark.audit(file)


@pytest.fixture(scope="module")
def mixed(folder):
    """Evidence with matches, misses and answers that are none."""
    key = new_key(owner="")
    return tfmark.audit(evidence_of(key, Suspect(key, (2, 9), (5,)), folder)).evidence


@pytest.fixture(scope="module")
def not_shown(folder):
    key = new_key(scheme="content", shape=(24, 24, 3), owner="Société " + "Å" * 180)
    return tfmark.audit(evidence_of(key, Suspect(key, range(48)), folder))


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def images(page):
    """All pictures of a page."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def text_of(page):
    """What a page says, roughly as people read it."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def test_the_same_evidence_gives_the_same_page(file, over_network):
    page = render_report(over_network.evidence)
    code = (
        "import sys, tfmark; from tfmark.evidence.report import render_report\n"
        "sys.stdout.buffer.write(render_report(tfmark.Evidence.load(sys.argv[1])).encode())"
    )
    again = subprocess.run([sys.executable, "-c", code, file], capture_output=True, check=True)
    assert again.stdout.decode() == page


def test_the_verdict_comes_first_and_the_facts_of_the_case_follow(over_network):
    evidence = over_network.evidence
    page = render_report(evidence)
    text = text_of(page)
    first = text.index("The suspect carries the watermark of ACME Ltd .")
    assert first < 80
    for fact in (
        evidence.asking.name, evidence.commitment.commitment, evidence.verdict.sentence,
        f"{evidence.started:%H:%M:%S} UTC", f"SHA-256 {hash_of_certificate(evidence)}",
        "mark 11 as the first one Tries 156", "no settings of one's own Tries 2",
        "one request without an answer Tries 16", "Together Tries 9,984",
        "48, of which 11 were opened before",
        "It is not the probability that the suspect is innocent",
        f"tfmark audit FILE.zip --tsa-ca CA.pem --ask {evidence.asking.name}",
        "There is no time stamp", "Not yet: this page was made from the claimant's file",
        "That the answers are genuine",
        f"takes the {48 - 11 - len(evidence.openings)} that are left",
    ):  # fmt: skip
        assert text.index(fact) > first, fact
    audited = text_of(render_report(evidence, over_network))
    for step in over_network.steps:
        assert f"{step.name} {step.status} {step.text}" in audited
    assert "every step that was checked holds. Not checked: time stamp." in audited


def hash_of_certificate(evidence):
    certificates = evidence.exchanges[0].answered.certificates
    assert len(certificates) == 2
    return hashlib.sha256(certificates[0]).hexdigest()


def test_what_was_not_shown_is_not_said_to_be(not_shown, mixed):
    page = text_of(render_report(not_shown.evidence, not_shown))
    assert "It was not shown that the suspect carries the watermark" in page
    assert "it does not show that the suspect is innocent" in page
    assert "The suspect carries" not in page
    assert "whoever holds the key (nobody is named)" in text_of(render_report(mixed))


def test_evidence_that_an_audit_refused_is_not_shown_as_a_finding(over_network):
    refused = Audit(
        (Step("file", HOLDS, "Whole."), Step("answers", "refused", "They differ.")), alpha=1e-9
    )
    page = render_report(over_network.evidence, refused)
    text = text_of(page)
    assert "This evidence does not hold." in text
    assert "answers refused They differ." in text
    assert "carries the watermark" not in text.partition("What such evidence")[0]
    assert images(page) == []


def test_pictures_are_those_that_were_asked_about(mixed):
    page = render_report(mixed)
    root = bytes.fromhex(mixed.commitment.commitment)
    triggers = triggers_of(mixed.openings, mixed.spec, root, mixed.commitment.value_range)
    found = images(page)
    assert len(found) == 3 * len(mixed.openings)
    for row, opening in enumerate(mixed.openings):
        base, mark, trigger = found[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(base, opening.base[..., 0])
        np.testing.assert_array_equal(trigger, triggers.pixels[row][..., 0])
        change = trigger.astype(int) - base
        inside = (trigger % 255 > 0) & (mark % 255 > 0)  # not clipped
        assert inside.sum() > 10
        np.testing.assert_array_equal((mark.astype(int) - 128)[inside], change[inside])


def test_other_kinds_of_marks_images_and_suspects(folder):
    key = new_key(shape=(12, 12), scheme="unrelated", classes=3, marks=96)
    page = render_report(tfmark.Evidence.load(evidence_of(key, Suspect(key), folder)))
    assert "all shades from black to white" in text_of(page)
    assert "a model in the claimant's own program" in text_of(page)
    assert "--ask" not in page
    base, mark, trigger = images(page)[:3]
    assert base.shape == mark.shape == trigger.shape == (12, 12)
    assert mark[0].tolist() in (sorted(mark[0]), sorted(mark[0], reverse=True))


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (7, 5, 3), (7, 5, 2), (7, 5, 4), (3, 9, 7), (1, 1024, 3), (1024, 1, 1),
     (1024, 1024, 3), (1024, 1024, 1)],
)  # fmt: skip
def test_images_of_any_size_become_pictures(shape, rng):
    pixels = rng.integers(0, 256, shape, np.uint8)
    made = picture(pixels, longest_side(33))
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(made.address.partition(",")[2]))))
    if max(shape) <= 112:
        shown = pixels[..., :3] if shape[2] >= 3 else pixels[..., 0]
        np.testing.assert_array_equal(drawn, shown)
    assert max(drawn.shape) <= 256
    assert TILE / 2 <= max(made.width, made.height) <= TILE or max(shape) < 9
    assert min(made.width, made.height) >= 1
    assert made.width / made.height == pytest.approx(shape[1] / shape[0], rel=0.1) or 1024 in shape


def test_a_page_of_many_large_images_is_bounded(folder):
    key = new_key(shape=(300, 400, 3), marks=12)
    page = render_report(tfmark.Evidence.load(evidence_of(key, Suspect(key), folder)))
    assert len(images(page)) == 33
    assert len(page) < 1.6 * BUDGET


TIMES = "\N{MULTIPLICATION SIGN}"
DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
NAMES = {"million": 1e6, "billion": 1e9, "trillion": 1e12}


def log10_of(text):
    """The logarithm of a number on the page."""
    number, _, name = text.replace(",", "").partition(" ")
    if name in NAMES:
        return math.log10(float(number) * NAMES[name])
    power = re.search("(?<!\\d)10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    alone = power and power[0] == text
    return (0 if alone else math.log10(float(number))) + int(
        power[1].translate(DIGITS) if power else 0
    )


@given(st.floats(1e-250, 1))
def test_odds_never_say_more_than_the_probability(probability):
    text = odds(probability)
    if text.endswith(" in 100"):
        told = math.log10(float(text.removesuffix(" in 100")) / 100)
    else:
        told = -log10_of(text.removeprefix("1 in "))
    assert math.log10(probability) - 1e-9 <= told <= math.log10(probability) + 0.3


@given(st.floats(-300, 300))
def test_powers_of_ten_are_rounded_and_no_more(log10):
    assert log10_of(power_of_ten(log10)) == pytest.approx(log10, abs=3e-3)


def test_numbers_as_people_read_them():
    assert [shown(x) for x in (1e9, 4.93e-10, 8e9, 0.05, 1, 624, 0)] == [
        "10⁹", f"4.93 {TIMES} 10⁻¹⁰", f"8 {TIMES} 10⁹", "0.05", "1", "624", "0",
    ]  # fmt: skip
    assert odds(4.9286e-10) == "1 in 2.0 billion"
    assert odds(0.0123) == "1.3 in 100"


@given(st.text(), st.integers(1, 50))
def test_texts_of_strangers_show_all_their_characters(text, longest):
    told = visible(text, longest)
    assert told.isprintable()
    assert len(told) <= 10 * longest + 40
    if text.isascii() and text.isprintable() and len(text) <= longest:
        assert told == text
    else:
        assert visible(BIDI) == "[U+202E]gpj.exe[U+202C]"


def hostile(evidence):
    """Evidence in which whatever a suspect or a claimant writes is an attack on who reads it."""
    everything = BIDI + ESCAPE + "".join(ATTACKS)
    huge = everything + "A" * 10_000_000
    server_key = new_server_key()
    subject = certify(ATTACKS[1] + BIDI, server_key, server_key, None)
    first, last = evidence.exchanges[0], evidence.exchanges[-1]
    answered = replace(
        last.answered, body=(huge + SCRIPT).encode(), certificates=(der(subject), b"none"),
        headers={"Date": huge, "Server": everything},
    )  # fmt: skip
    lost = replace(first, answered=None, failure=Failure("unreadable", huge, None))
    classes = tuple(f"{number}{attack}" for number, attack in enumerate((*ATTACKS, huge, BIDI)))
    asking = replace(
        evidence.asking, name="http://" + everything,
        dialect=Dialect(class_names=classes, signature=everything, output=huge),
    )  # fmt: skip
    asked = replace(last.asked, address=huge, method=everything)
    return replace(
        evidence,
        version=everything,
        commitment=replace(evidence.commitment, owner=everything),
        asking=asking,
        exchanges=(lost, replace(last, asked=asked, answered=answered)),
        verdict=replace(evidence.verdict, reason=huge),
        time_stamps=(b"none", huge.encode()),
    )


@pytest.fixture(scope="module")
def named(folder):
    """Evidence of a service that answers with class names, which are attacks."""
    key = new_key(owner=ATTACKS[3][:150])
    names = [f"{number}{attack}" for number, attack in enumerate((*ATTACKS, "ninth", "tenth"))]
    triggers = key.triggers()
    labels = {
        json.dumps(instance): names[label]
        for instance, label in zip(triggers.pixels.tolist(), triggers.labels, strict=True)
    }

    def respond(instances):
        return [labels[json.dumps(np.array(x, np.int64).tolist())] for x in instances]

    with http_server(model(respond)) as server:
        url = server.url + "/v1/models/m"
        audited = tfmark.audit(evidence_of(key, url, folder, class_names=names))
    assert audited.holds
    assert audited.verdict.owned
    return audited


def test_names_from_the_suspect_are_shown_as_they_are(named):
    page = render_report(named.evidence, named)
    assert SCRIPT not in page
    assert SCRIPT in html.unescape(page)
    assert not [attack for attack in ATTACKS if re.search("[<&]", attack) and attack in page]


def test_texts_of_strangers_are_short_and_visible(over_network):
    page = render_report(hostile(over_network.evidence))
    assert len(page) < 400_000
    assert not [letter for letter in page if not letter.isprintable() and letter != "\n"]
    text = text_of(page)
    assert "[U+202E]gpj.exe[U+202C]" in text
    assert "[U+001B]" in text
    assert "characters)" in text
    assert "--ask URL" in text  # an address that is none is nothing to put on a command line


@pytest.fixture(scope="module")
def pages(over_network, named, mixed, not_shown):
    return {
        "over network": render_report(over_network.evidence, over_network),
        "named": render_report(named.evidence, named),
        "mixed": render_report(mixed),
        "not shown": render_report(not_shown.evidence, not_shown),
        "hostile": render_report(hostile(over_network.evidence)),
    }


PAGES = "over network", "named", "mixed", "not shown", "hostile"


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("without_policy", [False, True])
def test_nothing_runs_and_nothing_is_loaded(chromium, pages, tmp_path, name, without_policy):
    """Neither with the page's own content security policy nor, by escaping alone, without it."""
    page = pages[name]
    if without_policy:
        assert page.count('http-equiv="Content-Security-Policy"') == 1
        page = page.replace('http-equiv="Content-Security-Policy"', 'name="nothing"')
    with opened(chromium, page, tmp_path) as seen:
        assert seen.page.evaluate("window.ran") is None
        assert (
            seen.page.evaluate("document.querySelectorAll('script, iframe, base, form').length")
            == 0
        )
        handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
        assert not [x for x in seen.page.evaluate(handlers) if x.startswith("on")]
        links = seen.page.eval_on_selector_all(
            "a", "found => found.map(a => a.getAttribute('href'))"
        )
        assert links
        assert all(link.startswith("#") for link in links)
        assert (seen.requests, seen.said) == ([], [])


@needs_chromium
def test_the_browser_would_have_noticed(chromium, tmp_path):
    page = f"{SCRIPT}<img src='http://127.0.0.1:9/x'><script>console.log('said')</script>"
    with opened(chromium, page, tmp_path) as seen:
        assert seen.page.evaluate("window.ran") == 1
        assert seen.requests == ["http://127.0.0.1:9/x"]
        assert "said" in seen.said


@needs_chromium
@pytest.mark.parametrize("name", ["over network", "mixed", "not shown"])
def test_everybody_can_read_it(chromium, pages, tmp_path, name):
    """By the rules of axe-core: contrast, headings, landmarks, tables, names of pictures ..."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, pages[name], tmp_path, bypass_csp=True) as seen:
        found = Axe().run(seen.page, options={"resultTypes": ["violations"]})
        seen.page.emulate_media(color_scheme="dark")
        dark = Axe().run(seen.page, options={"runOnly": ["color-contrast"]})
    assert found.violations_count == 0, found.generate_report()
    assert dark.violations_count == 0, dark.generate_report()
    assert dark.response["passes"]


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
def test_it_fits_every_width(chromium, pages, tmp_path, name):
    with opened(chromium, pages[name], tmp_path) as seen:
        for width in (320, 400, 640, 1280):  # 640 is 1280 at 200 %
            seen.page.set_viewport_size({"width": width, "height": 800})
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            wide = seen.page.eval_on_selector_all(
                "main *, header *", "found => found.filter(e => e.clientWidth > 1 && "
                "e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')"
                ".map(e => e.outerHTML)",
            )  # fmt: skip
            assert wide == []


@needs_chromium
def test_it_prints_black_on_white_with_plot_and_pictures(chromium, pages, tmp_path):
    with opened(chromium, pages["mixed"], tmp_path, color_scheme="dark") as seen:
        dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        seen.page.emulate_media(media="print", color_scheme="dark")
        colours = seen.page.evaluate(
            "(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))"
        )
        shown = seen.page.eval_on_selector_all(
            "img, .plot, .plot .point > :first-child", "found => found.map(e => "
            "[e.getBoundingClientRect().height, getComputedStyle(e).visibility])"
        )  # fmt: skip
        printed = seen.page.pdf(prefer_css_page_size=True)
    assert dark != "rgb(255, 255, 255)"
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert len(shown) > 40
    assert all(height > 3 and visibility == "visible" for height, visibility in shown)
    assert re.search(rb"/MediaBox \[0 0 59[45]\S* 84[12]", printed)  # A4, in points
    assert printed.count(b"/Subtype /Image") + printed.count(b"/Subtype/Image") > 10


@needs_chromium
@pytest.mark.parametrize("name", ["mixed", "not shown"])
def test_the_plot_shows_what_was_found(chromium, pages, mixed, not_shown, tmp_path, name):
    evidence = {"mixed": mixed, "not shown": not_shown.evidence}[name]
    verdict = evidence.verdict
    with opened(chromium, pages[name], tmp_path) as seen:
        shapes = {
            kind: seen.page.eval_on_selector_all(
                f".point > {kind}", "found => found.map(e => e.getBoundingClientRect())"
                ".map(box => [box.x + box.width / 2, box.y + box.height / 2])",
            )
            for kind in ("circle", "path", "rect")
        }  # fmt: skip
        needed = seen.page.eval_on_selector(".needed", "e => e.getBoundingClientRect().y")
        told = seen.page.get_by_role("img", name="Evidence after each question").count()
    none = evidence.answers.count(-1)
    missed = verdict.queries - verdict.matches - none
    assert [len(shapes[kind]) for kind in ("circle", "path", "rect")] == [
        verdict.matches,
        missed,
        none,
    ]
    assert told == 1
    across = sorted(point for points in shapes.values() for point in points)
    highest = min(y for _, y in across)
    assert (highest < needed) == verdict.owned
    if verdict.owned:
        assert across[-2][1] > needed > across[-1][1]  # it was asked no longer than needed


@pytest.fixture(scope="module")
def stamped(folder):
    """Evidence with time stamps of two authorities, one of which has an attack for a name."""
    key = new_key()
    authorities = [
        make_authority(folder / f"tsa{n}", name) for n, name in enumerate(("Stamps", ATTACKS[1]))
    ]
    stamps = tuple(authority.stamp(key.public.document) for authority in authorities)
    key.records = replace(key.records, time_stamps=stamps)
    path = evidence_of(key, Suspect(key), folder)
    ca = folder / "both.pem"
    ca.write_bytes(b"".join(authority.ca_file.read_bytes() for authority in authorities))
    return path, ca


@needs_openssl
def test_time_stamps_are_not_said_to_be_checked_unless_they_are(stamped):
    path, ca = stamped
    evidence = tfmark.Evidence.load(path)
    page = render_report(evidence)
    assert ATTACKS[1] not in page
    assert text_of(page).count("± 1.5 s") == 2
    assert "Not checked here." in page
    audited = tfmark.audit(path, tsa_ca=ca)
    page = text_of(render_report(evidence, audited))
    assert "Not checked here." not in page
    assert "The audit: holds. The commitment was there on" in page
    page = text_of(render_report(evidence, tfmark.audit(path)))
    assert "The audit: not checked. It says" in page


TOOLS = all(map(shutil.which, ("bash", "unzip", "sha256sum", "xxd")))


@needs_openssl
@pytest.mark.skipif(not TOOLS, reason="no bash, unzip, sha256sum or xxd")
@pytest.mark.parametrize("changed", [None, "signature", "commitment.json", "evidence.json"])
def test_the_commands_on_the_page_work(stamped, tmp_path, changed):
    path, ca = stamped
    page = html.unescape(render_report(tfmark.Evidence.load(path)))
    commands = re.findall("<pre><code>(.*?)</code></pre>", page, re.DOTALL)[-1]
    shutil.copy(path, tmp_path / "FILE.zip")
    shutil.copy(ca, tmp_path / "CA.pem")
    if changed:
        first, rest = commands.split("\n", 1)
        change = f"sed -i s/[0-9]/7/g evidence/{changed}"
        commands = f"{first}\n{change}\n{rest}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", commands], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (changed is None), done.stdout + done.stderr
    if changed is None:
        assert done.stdout.count("Verification: OK") + done.stderr.count("Verification: OK") == 2
        assert "Signature Verified Successfully" in done.stdout


def test_verify_writes_the_page_and_needs_nothing_of_it_otherwise(tmp_path):
    key = new_key()
    key.save(tmp_path / "key")
    code = (
        "import sys, json, tfmark\n"
        "key = tfmark.WatermarkKey.load(sys.argv[1])\n"
        "tfmark.verify(sys.argv[2], key, evidence=sys.argv[3])\n"
        "before = 'jinja2' in sys.modules\n"
        "tfmark.verify(sys.argv[2], key, report=sys.argv[4])\n"
        "print(before, 'jinja2' in sys.modules, 'tensorflow' in sys.modules)"
    )
    files = tmp_path / "e.zip", tmp_path / "r.html"
    with http_server(watermarked(key)) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "key", server.url + "/v1/models/m", *files],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout.split() == ["False", "True", "False"]
    page = files[1].read_text()
    assert "mark 12" in text_of(page)  # the page has opened marks of its own
    assert page.count("<img") == 3 * (
        tfmark.WatermarkKey.load(tmp_path / "key").records.opened - 12
    )
