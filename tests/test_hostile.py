"""Whatever a suspect's server does: `verify` ends, with a verdict, and gives no secret away."""

import gc
import gzip
import itertools
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from types import NoneType, UnionType

import numpy as np
import pytest
from click.testing import CliRunner

import tfmark
from tests.hostile_servers import (
    CHUNKED,
    END,
    MIB,
    OK,
    Behaviour,
    body,
    chunked,
    closes_at_once,
    credentials,
    described,
    drip,
    each,
    echo,
    endless,
    framed,
    hostile_server,
    labels,
    lazy_body,
    model,
    moved,
    never_reads,
    one_hot,
    password,
    predictions_full_of,
    raw,
    redirect,
    resets_at_once,
    rewritten,
    right,
    right_for,
    scored,
    signature,
    status,
    then_listens,
    then_reset,
    then_silence,
    zipped_zeros,
)
from tfmark.asking import on_same_images
from tfmark.cli import main
from tfmark.endpoints.connection import Connection
from tfmark.errors import AnswerError, EndpointError, RefusedError, UnreachableError

EXIT_CODES = {"owned": 0, "not shown": 1, "inconclusive": 3}
HANG = 30  # seconds after which the verifier is taken to hang
MEMORY = 200 * MIB  # the most that an answer may make the verifier take, itself included
PATIENCE = 0.2  # seconds of time-out against servers that let the verifier wait
TOKEN, API_KEY, PASSWORD = "s3cr3t-token-value", "k3y/0f+the/4pi=", "me:hunter2-pa55word"
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "X-Api-Key": API_KEY,
    "Proxy-Authorization": "Basic bWU6aHVudGVyMi1wYTU1d29yZA==",
}
SECRETS = (TOKEN, API_KEY, PASSWORD, *HEADERS.values())


def new_key(*shape):
    images = np.random.default_rng(0).integers(0, 256, (96, *shape), np.uint8)
    return tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=shape, num_classes=10, base_images=images, secret=bytes(32)
    )


KEY = new_key(8, 8, 1)
TRIGGERS = KEY.triggers()
LABELS = {
    image.tobytes(): int(label)
    for asked in (*on_same_images(KEY), TRIGGERS)
    for image, label in zip(asked.pixels, asked.labels, strict=True)
}


# --- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    behaviour: Behaviour
    text: str  # in the reason of the verdict
    status: str = "inconclusive"
    error: type | UnionType = AnswerError  # what the endpoint raises
    timeout: float = HANG
    bomb: bool = False  # memory is measured, in a process of its own


def refused(name, behaviour, text):
    return Case(name, behaviour, text, error=RefusedError)


def broken(name, behaviour, text="broke the connection off"):
    return Case(name, behaviour, text, error=UnreachableError)


def slow(name, behaviour):
    text = f"did not answer within {PATIENCE:g} s"
    return Case(name, behaviour, text, error=UnreachableError, timeout=PATIENCE)


def unanswered(name, behaviour):
    return Case(name, behaviour, "got no class for an answer", error=NoneType)


def owned(name, behaviour):
    return Case(name, behaviour, "evidence suffices", "owned", NoneType)


def not_shown(name, behaviour):
    return Case(name, behaviour, "not change that|Every mark", "not shown", NoneType)


NAN, INF = float("nan"), float("inf")
UNREADABLE = "not JSON that can be read"
PREDICTIONS = '{"predictions": '

COUNTS = [
    Case("no rows", moved(lambda ids: []), "Expected 10 answers"),
    Case("a row missing", moved(lambda ids: ids[1:]), "Expected 10 answers.*Received 9"),
    Case("a row too many", moved(lambda ids: [*ids, 0]), "Expected 10 answers.*Received 11"),
    Case("a million rows", body(json.dumps({"predictions": [0] * 1_000_000})), "Received 1000000"),
    Case("a score too many", each(lambda y: one_hot([y], 11)[0]), "Received: 11 numbers"),
    Case("a score missing", each(lambda y: one_hot([y], 9)[0]), "Received: 9 numbers"),
    Case("ragged rows", each(lambda y: [0.5] * (y + 1)), "as many for each image"),
    Case("empty rows", each(lambda y: []), "Expected 10 answers"),
    Case("each row doubled", each(lambda y: 2 * [one_hot([y])[0]]), "Received: one of shape"),
    Case("rows 900 deep", each(lambda y: json.loads("[" * 900 + "1" + "]" * 900)), "."),
    Case("a number for all rows", model(lambda _: 7), '"predictions"'),
    Case("null for all rows", model(lambda _: None), '"predictions"'),
]

VALUES = [
    unanswered("one NaN in each row", each(lambda y: [NAN, *one_hot([y])[0][1:]])),
    unanswered("all NaN", each(lambda y: [NAN] * 10)),
    unanswered("one null in each row", each(lambda y: [None, *one_hot([y])[0][1:]])),
    unanswered("null for each class", each(lambda y: None)),
    owned("null for one row in ten", model(lambda q: [*one_hot(labels(q))[:9], None][: len(q)])),
    owned("infinity for the label", each(lambda y: [INF if i == y else 0 for i in range(10)])),
    owned("-infinity for all others", each(lambda y: [0 if i == y else -INF for i in range(10)])),
    not_shown("infinity for all", each(lambda y: [INF] * 10)),
    owned("1e999 for the label", rewritten(lambda text: text.replace("1.0", "1e999"))),
    unanswered("1e999 for each class", body('{"predictions": [%s1e999]}' % ("1e999," * 9))),
    Case("10**400", each(lambda y: 10**400), "not made of numbers"),
    Case("integers of 5000 digits", body('{"predictions": [%s]}' % ("9" * 5000)), UNREADABLE),
    unanswered("ids beyond 64 bits", each(lambda y: 2**63 + y)),
    unanswered("ids beyond K", each(lambda y: 10 + y)),
    unanswered("negative ids", each(lambda y: -1 - y)),
    unanswered("fractional ids", each(lambda y: y + 0.5)),
    Case("booleans", each(lambda y: [i == y for i in range(10)]), "bool"),
    Case("scores as text", each(lambda y: [f"{s + 0.75:.1e}" for s in one_hot([y])[0]]), ".",
         error=AnswerError | None),
    Case("ids as text of floats", each(lambda y: f"{y / 10:.1e}"), ".", error=AnswerError | None),
    Case("garbage text", each(lambda y: "\x1b]0;\x07\ud800" * 50), ".", error=AnswerError | None),
    Case("empty objects", each(lambda y: {}), "."),
    Case("rows of several kinds", model(lambda q: [{"a": 1}, *one_hot(labels(q))[1:]]), "outputs"),
]  # fmt: skip

BODIES = [
    Case("an empty object", body("{}"), '"predictions"'),
    Case("an empty body", body(""), UNREADABLE),
    Case("null", body("null"), '"predictions"'),
    Case("a list", body('[{"predictions": [1]}]'), '"predictions"'),
    Case("an error with status 200", body('{"error": "\x1b[2J"}'), "."),
    Case("plain text", body("hello"), UNREADABLE),
    Case("HTML", body("<!doctype html><html><body>Log in</body></html>"), UNREADABLE),
    Case("invalid UTF-8", body(b'{"predictions": ["\xff\xfe\x80"]}'), "Received 1"),
    Case("trailing junk", rewritten(lambda text: text + "}"), UNREADABLE),
    Case("two documents", rewritten(lambda text: text + text), UNREADABLE),
    Case("unterminated", rewritten(lambda text: text[:-1]), UNREADABLE),
    Case("brackets without end", body("[" * MIB), UNREADABLE),
    Case("brackets in predictions", body(PREDICTIONS + "[" * MIB + "]" * MIB + "}"), UNREADABLE),
    Case("braces without end", body('{"a":' * (MIB // 8)), UNREADABLE),
    Case("a number of 8 MiB", body("1." + "1" * (8 * MIB)), "."),
    owned("a byte order mark", rewritten(lambda text: text.encode("utf-8-sig"))),
    owned("UTF-16", rewritten(lambda text: text.encode("utf-16"))),
    owned("UTF-32", rewritten(lambda text: text.encode("utf-32"))),
    owned("a key twice", rewritten(lambda text: '{"predictions": 5, ' + text[1:])),
]

NAMED = {f"{kind}{i}": row for i in range(1500) for kind, row in (("a", [1, 2]), ("b", [0.5, 1]))}
BOMBS = [
    Case(name, behaviour, text, bomb=True)
    for name, behaviour, text in [
        ("a body without end", endless(OK + END, bytes(MIB)), "larger than"),
        ("10 GB announced", endless(OK + b"Content-Length: 10737418240\r\n\r\n", b"[" * MIB),
         "larger than"),
        ("chunks without end", endless(OK + CHUNKED + END, b"100000\r\n%s\r\n" % bytes(MIB)),
         "larger than"),
        ("10 GB in gzip", lazy_body(lambda: zipped_zeros(1, 160), "Content-Encoding: gzip"),
         "larger than"),
        ("gzip in gzip in gzip", lazy_body(lambda: zipped_zeros(3),
                                           "Content-Encoding: gzip, gzip, gzip"), "larger than"),
        ("an error of 10 GB in gzip", status(500, zipped_zeros(1, 160), "Content-Encoding: gzip"),
         "larger than"),
        ("objects by the million", predictions_full_of("{}"), "."),
        ("names by the million", predictions_full_of('{"":0}'), "."),
        ("lists by the million", predictions_full_of("[[]]"), "."),
        ("rows by the million", predictions_full_of("[1]"), "."),
        ("texts by the million", predictions_full_of('"\\u0100"'), "."),
        ("outputs by the thousand", each(lambda y: NAMED), "Cannot tell which"),
        ("axes by the thousand", described(signature((-1, 8, 8, *[1] * 20_000)), status(403)), "."),
    ]
]  # fmt: skip

ENCODINGS = [
    Case("gzip that is none", body("{}", "Content-Encoding: gzip"), "compressed"),
    Case("deflate that is none", body("}{", "Content-Encoding: deflate"), "."),
    Case("truncated gzip", body(gzip.compress(bytes(999))[:-9], "Content-Encoding: gzip"), "."),
    Case("br that is none", body("}{", "Content-Encoding: br"), "."),
    Case("zstd that is none", body("}{", "Content-Encoding: zstd"), "."),
    Case("fifty times gzip", body("{}", "Content-Encoding: " + ", ".join(["gzip"] * 50)), "."),
    Case("an unknown encoding", body("}{", "Content-Encoding: \xff"), UNREADABLE),
    slow("gzip of nothing without end",
         endless(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"") * 1000)),
]  # fmt: skip

HEADS = [
    broken("headers without end", endless(OK, b"X: y\r\n")),
    broken("a thousand headers", raw(OK, b"X: y\r\n" * 1000, END, b"{}")),
    broken("a header of 1 MiB", raw(OK, b"X: ", b"y" * MIB, END, END, b"{}")),
    broken("a header line without end", endless(OK + b"X: ", b"y" * 65536)),
    broken("a status line without end", endless(b"HTTP/1.1 200 ", b"K" * 65536)),
    broken("a flood of cookies", raw(OK, b"Set-Cookie: a=b; Path=/\r\n" * 5000, END)),
    Case("fifty large cookies", body("", *["Set-Cookie: " + "c" * 60_000] * 50), UNREADABLE),
    Case("lines that are no headers", raw(OK, b"a: b\r\nno colon\r\n\0: \0\r\n", END), UNREADABLE),
    broken("HTTP/0.9", raw(b'{"predictions": [1]}')),
    broken("another protocol", raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
    broken("HTTP/2", raw(b"HTTP/2 200 OK\r\n\r\n{}")),
    broken("a status that is no number", raw(b"HTTP/1.1 OK 200\r\n\r\n{}")),
    broken("status 000", raw(b"HTTP/1.1 000 Zero\r\n\r\n{}")),
    broken("status -200", raw(b"HTTP/1.1 -200 OK\r\n\r\n{}")),
    broken("status 20000000000", raw(b"HTTP/1.1 20000000000 OK\r\n\r\n{}")),
]

FRAMES = [
    Case("Content-Length too small", framed(b"Content-Length: 9\r\n"), UNREADABLE),
    broken("Content-Length too large", framed(b"Content-Length: 999\r\n")),
    broken("two Content-Lengths", framed(b"Content-Length: LENGTH\r\n", b"Content-Length: 9\r\n")),
    broken("a list of Content-Lengths", framed(b"Content-Length: 9, LENGTH\r\n")),
    owned("Content-Length twice", framed(b"Content-Length: LENGTH\r\n" * 2)),
    owned("a negative Content-Length", framed(b"Content-Length: -9\r\n")),
    owned("a Content-Length that is no number", framed(b"Content-Length: many\r\n")),
    owned("a Content-Length of 5000 digits", framed(b"Content-Length: %s\r\n" % (b"9" * 5000))),
    owned("no Content-Length", framed()),
    Case("no Content-Length and cut off", framed(cut=-3), UNREADABLE),
    broken("length and chunks", framed(CHUNKED, b"Content-Length: LENGTH\r\n")),
    broken("a chunk of size zz", chunked(b"zz")),
    broken("a chunk of no size", chunked(b"")),
    broken("a chunk larger than it is", chunked(b"fff")),
    broken("a chunk of 2**80 bytes", chunked(b"1" + b"0" * 20)),
    broken("a chunk of a negative size", chunked(b"-5")),
    broken("a chunk's size without end", endless(OK + CHUNKED + END, b"0" * 65536)),
    broken("chunks cut off", raw(OK, CHUNKED, END, b"5\r\n[1")),
    Case("chunks without their end", raw(OK, CHUNKED, END, b"2\r\n[1\r\n0\r\n"), UNREADABLE),
]

WAITS = [
    slow("reads nothing, says nothing", never_reads),
    slow("reads and says nothing", then_silence()),
    slow("half a head", then_silence(OK, b"Content-")),
    slow("half a body", then_silence(OK, b"Content-Length: 99\r\n\r\n", b"[1, ")),
    slow("half a chunk", then_silence(OK, CHUNKED, END, b"99\r\n[1, ")),
    slow("a status line byte by byte", drip(OK + END + b"{}")),
    slow("a header byte by byte", endless(OK + b"X: ", b"y", pause=0.05)),
    slow("a header now and then", endless(OK, b"X: y\r\n", pause=0.05)),
    slow("a body byte by byte", endless(OK + b"Content-Length: 9999\r\n\r\n", b"[", pause=0.05)),
    slow("chunks byte by byte", endless(OK + CHUNKED + END, b"1\r\n[\r\n", pause=0.05)),
    slow("gzip byte by byte", drip(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}"))),
    slow("100 Continue for ever", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
    slow("100 Continue now and then", endless(b"", b"HTTP/1.1 100 \r\n\r\n", pause=0.05)),
    slow("trailers without end", endless(OK + CHUNKED + END + b"0\r\n", b"X: y\r\n" * 1000)),
    slow("a chunk's comments without end",
         endless(OK + CHUNKED + END, b"1;" + b"x" * 60_000 + b"\r\n \r\n", pause=0.01)),
]  # fmt: skip

CLOSES = [
    broken("closes at once", closes_at_once),
    broken("closes after the request", raw()),
    broken("closes in the head", raw(OK[:9])),
    broken("resets at once", resets_at_once, "broke the connection off|does not accept"),
    broken("resets after the request", then_reset()),
    broken("resets in the head", then_reset(OK, b"X: ")),
    broken("resets in the body", then_reset(OK, b"Content-Length: 99\r\n\r\n", b"[1, ")),
    broken("resets in a chunk", then_reset(OK, CHUNKED, END, b"5\r\n[1")),
]

PAGE = "<html><head><title>502</title></head><body><h1>Bad\n gateway</h1></body></html>"
STATUSES = [
    *(refused(f"status {code}", status(code, '{"error": "Go\\u001b[31maway"}'), f"{code}: Go.*away")
      for code in (206, 400, 401, 403, 404, 405, 413, 418, 429, 500, 501, 502, 503, 504, 999)),
    *(refused(f"status {code} without a body", status(code), str(code))
      for code in (101, 204, 205, 300, 304)),
    refused("206 with the right answer", right_for(0, status(206, '{"predictions": [1]}')), "206"),
    refused("502 with a page", status(502, PAGE), "502: 502 Bad gateway"),
    refused("a body of invalid UTF-8", status(400, b"\xff\xfe\x80 no"), "400: .*no"),
    refused("an error 900 deep", status(400, '{"error": %s}' % ("[" * 900 + "]" * 900)), "400"),
    refused("an error of many brackets", status(400, '{"error":' * 1000), "400"),
    refused("an error of 4 MiB in one line", status(400, "x " * (2 * MIB)), "400"),
    refused("an error of one word of 4 MiB", status(400, "x" * (4 * MIB)), "400"),
    refused("an error of tags", status(400, "<html>" + "<" * 5000), "400"),
    *(refused(f"{code}, Retry-After: {text[:12]}", status(code, "busy", f"Retry-After: {text}"),
              f"{code}: busy")
      for code, text in [(429, "999999999"), (503, "9" * 5000), (429, "-1"), (503, "soon"),
                         (429, "Fri, 31 Dec 9999 23:59:59 GMT"), (503, "1e9"), (429, "\xb2"),
                         (503, "Mon, 01 Jan 2024 00:00:00 +99999999"), (429, "nan"), (503, "")]),
    refused("Retry-After twice", status(503, "busy", "Retry-After: 9", "Retry-After: -9"), "503"),
]  # fmt: skip

REDIRECTS = [
    refused(f"{code} to {location or 'nowhere'}", redirect(code, location), f"{code}: it redirects")
    for code, location in [
        *itertools.product((301, 302, 303, 307, 308), ("ELSEWHERE", "ITSELF")),
        *itertools.product((302, 307), ("file:///etc/passwd", "gopher://127.0.0.1/", "//", "")),
    ]
]

ECHOES = [
    refused("echoes the headers", echo(credentials), "400"),
    refused("echoes them as JSON", echo(lambda c: {"error": credentials(c)}), "400"),
    refused("echoes them in a dict", echo(lambda c: {"error": dict(c.request.headers)}), "400"),
    refused("echoes them in a page", echo(lambda c: f"<html>{credentials(c)}</html>"), "400"),
    refused("echoes them in colour", echo(lambda c: f"\x1b[31m{credentials(c)}\x07"), "400"),
    refused("echoes them in JSON for JavaScript",
            echo(lambda c: json.dumps({"message": credentials(c)}).replace("/", r"\/")), "400"),
    refused("echoes them where the text is cut",
            echo(lambda c: " " * 1978 + c.request.headers["Authorization"]), "400"),
    refused("echoes them behind numbers",
            echo(lambda c: "no " + "1.5, " * 395 + c.request.headers["Authorization"]), "400"),
    refused("echoes the password", echo(lambda c: f"no user {password(c)}", 401), "401"),
    refused("echoes them in the reason", raw(b"HTTP/1.1 400 ", TOKEN.encode(), END, END), "400"),
    refused("echoes them in a redirect", echo(credentials, 302, "Location: http://ECHO/"), "302"),
    refused("echoes them in Retry-After", echo(lambda c: "busy", 503, "Retry-After: ECHO"), "503"),
    Case("echoes them in a cookie", body("", f"Set-Cookie: {TOKEN}"), "."),
    Case("echoes them in a broken header", raw(OK, TOKEN.encode(), END, END), "."),
    Case("echoes them in the encoding", echo(credentials, 200, "Content-Encoding: ECHO"), "."),
    Case("echoes them as an error", echo(lambda c: {"error": credentials(c)}, 200), "."),
    Case("echoes them as classes", echo(lambda c: {"predictions": [API_KEY] * 10}, 200), ".",
         error=AnswerError | None),
    Case("echoes them as outputs",
         each(lambda y: {API_KEY: y, TOKEN: y}), "Cannot tell which"),
    Case("echoes them as a signature", described(signature(names=[TOKEN])), "no signature"),
    Case("echoes them as inputs", described(signature(inputs=[TOKEN, API_KEY])), "several inputs"),
    Case("echoes them as a dtype", described(signature(dtype=TOKEN)), "expects"),
    refused("echoes the question", echo(lambda c: c.request.body.decode()), "400"),
    refused("echoes it as JSON", echo(lambda c: {"error": c.request.body.decode()}), "400"),
    refused("echoes it line by line",
            echo(lambda c: c.request.body.decode().replace(",", "\n , \t")), "400"),
    refused("echoes it in a page", echo(lambda c: f"<html>{c.request.body.decode()}"), "400"),
    refused("moves the cursor", status(400, "\x1b[2J\x1b[H\x9b1A\r\b\0\u202eowned"), "400.*owned"),
    refused("writes a title", status(400, "\x1b]0;owned\x07 \x1bP1$r\x1b\\ no"), "400: .*no"),
]  # fmt: skip

DESCRIPTIONS = [
    Case("expects strings", described(signature(dtype="DT_STRING")), "DT_STRING|files"),
    Case("names that steer a terminal",
         described(signature(dtype="DT_\x1b[31m", names=["serving_default", "\x1b[2J\x9b\x07"],
                             inputs=["\x1b]0;owned\x07\u202e"])), "expects"),
    owned("a dtype of lists", described(signature(dtype=[[["DT_FLOAT"] * 999] * 9]))),
    Case("expects 2**62 images", described(signature((2**62, 8, 8, 1))), "too many"),
    Case("expects images of 2**62", described(signature((-1, 2**62, 2**62, 1))), "46116"),
    Case("negative sizes", described(signature((-1, -8, -8, 1))), r"\(-8, -8, 1\)"),
    Case("another shape", described(signature((-1, 28, 28, 3))), r"\(28, 28, 3\)"),
    Case("a hundred axes", described(signature((-1, 8, 8, *[1] * 100)), status(403)), ".",
         error=EndpointError),
    Case("5,000 axes", described(signature((-1, *[8] * 5_000))), "8, 8, 8|axes"),
    Case("no axes", described(signature(())), "single number"),
    Case("two inputs", described(signature(inputs=["a", "b"])), r"\['a', 'b'\]"),
    Case("5,000 inputs", described(signature(inputs=map(str, range(5_000)))), "several inputs"),
    Case("no input", described(signature(inputs=[])), "."),
    Case("5,000 signatures", described(signature(names=map(str, range(5_000)))), "no signature"),
    Case("no default signature", described(signature(names=["other"])), "no signature"),
    owned("no signature", described(signature(names=[]))),
    owned("5,000 more signatures",
          described(signature(names=["serving_default", *map(str, range(5_000))]))),
    owned("infinite sizes", described(signature((-1, INF, INF, 1)))),
    owned("sizes that are no numbers", described(signature((-1, NAN, NAN, 1)))),
    owned("sizes of 5000 digits", described(signature((-1, *["9" * 5000] * 2, 1)))),
    owned("sizes in letters", described(signature((-1, "x" * MIB, "\ud800", 1)))),
    owned("brackets for metadata", described("[" * MIB)),
    owned("metadata in itself", described({"metadata": signature()})),
    owned("lists for everything", described({"metadata": [[[]]]})),
    owned("numbers for signatures",
          described({"metadata": {"signature_def": {"signature_def": {"serving_default": 5}}}})),
    owned("one image at a time", described(signature((1, 8, 8, 1)))),
    owned("a thousand images at a time", described(signature((1024, 8, 8, 1)))),
]  # fmt: skip

LIARS = [
    owned("right", right),
    owned("right for ten questions", scored(lambda i, y: y if i < 10 else 1 - y)),
    not_shown("right for three questions", scored(lambda i, y: y if i < 3 else (y + 1) % 10)),
    not_shown("another class each time", scored(lambda _, y: (y + 1) % 10)),
    not_shown("classes shuffled", scored(lambda _, y: (7 * y + 3) % 10)),
    not_shown("always the same", scored(lambda *_: 3)),
    not_shown("in the order of the questions", scored(lambda i, _: i % 10)),
    not_shown("at random", scored(lambda i, _: random.Random(i).randrange(10))),
    not_shown("the batch backwards", moved(lambda ids: ids[::-1])),
    not_shown("the batch moved by one", moved(lambda ids: ids[1:] + ids[:1])),
    not_shown("all scores equal", each(lambda y: [0.1] * 10)),
    owned("every second answer missing",
          model(lambda questions: [None if i % 2 else y for i, y in questions])),
    unanswered("three of four missing",
               model(lambda questions: [None if i % 4 else y for i, y in questions])),
    owned("refuses after ten", right_for(10, status(403))),
    *(Case(f"{name} after three", described(signature((1, 8, 8, 1)), right_for(3, then)), text,
           error=error)
      for name, then, text, error in [
          ("refuses", status(403, "Blocked"), "403: Blocked", RefusedError),
          ("redirects", redirect(302, "ELSEWHERE"), "it redirects", RefusedError),
          ("closes", closes_at_once, "broke", UnreachableError),
          ("writes HTML", body("<html>"), UNREADABLE, AnswerError),
          ("forgets a row", moved(lambda ids: []), "Expected 1 answer", AnswerError),
      ]),
]  # fmt: skip

TABLE = [
    *COUNTS, *VALUES, *BODIES, *BOMBS, *ENCODINGS, *HEADS, *FRAMES, *WAITS, *CLOSES, *STATUSES,
    *REDIRECTS, *ECHOES, *DESCRIPTIONS, *LIARS,
]  # fmt: skip
QUICK = [case for case in TABLE if case.timeout == HANG and not case.bomb]


def cases(table):
    return pytest.mark.parametrize("case", table, ids=[case.name for case in table])


# --- what is checked ----------------------------------------------------------------------------


class Watched:
    """An endpoint without second tries, that keeps the error that it raised."""

    def __init__(self, url, timeout):
        self._suspect = tfmark.endpoint_from(url, KEY, headers=HEADERS, timeout=timeout, retries=0)
        self.error = None

    def classify(self, images):
        try:
            return self._suspect.classify(images)
        except EndpointError as error:
            self.error = error
            raise


def windows(items, length):
    return {tuple(items[i : i + length]) for i in range(len(items) - length + 1)}


PARTS = {part for secret in SECRETS for part in windows(secret, 8)} - windows("Bearer s", 8)
PIXELS = set().union(*(windows(image.ravel().tolist(), 6) for image in TRIGGERS.pixels))
PIXELS |= windows(TRIGGERS.labels.tolist(), 6)


def check_nothing_leaks(text):
    """No part of a credential, no run of pixels or labels, nothing that steers a terminal."""
    leaked = windows(text, 8) & PARTS
    assert not leaked, f"{sorted(map(''.join, leaked))} of a credential in {text!r}"
    numbers = [int(float(number)) for number in re.findall(r"\d{1,5}(?:\.\d+)?", text)]
    assert not windows(numbers, 6) & PIXELS, text
    assert all(letter.isprintable() for letter in text.replace("\n", "")), repr(text)


@pytest.fixture(autouse=True)
def watchdog():
    """Ends a test that hangs, wherever it is."""

    def bark(*_):
        pytest.fail(f"The verifier hangs: no end after {HANG} s.")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(HANG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def elsewhere():
    """Where redirects point, by another name of this machine: nobody may ever come here."""
    with hostile_server(right) as server:
        yield server.host
        assert server.connections == 0


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "owner.tfmark"
    KEY.save(path)
    return path


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries, which take no time."""
    kept = []
    monkeypatch.setattr(Connection, "wait", lambda _, seconds: kept.append(seconds))
    return kept


@cases([case for case in TABLE if not case.bomb])
def test_a_verdict_and_no_secrets(case, elsewhere, caplog):
    caplog.set_level(logging.DEBUG)
    with hostile_server(case.behaviour, labels=LABELS, elsewhere=elsewhere) as server:
        watched = Watched(server.url, case.timeout)
        verdict = tfmark.verify(watched, KEY)
    assert verdict.status == case.status, verdict
    assert isinstance(watched.error, case.error), verdict
    assert re.search(case.text, verdict.reason), verdict
    trace = "".join(traceback.format_exception(watched.error)) if watched.error else ""
    for text in (str(verdict), repr(verdict), json.dumps(verdict.to_dict()), trace, caplog.text):
        check_nothing_leaks(text)
    assert 5 < len(verdict.reason) < 600


def header_options():
    return [word for item in HEADERS.items() for word in ("--header", ": ".join(item))]


def command(key_file, server, timeout=HANG):
    return ["verify", str(key_file), server.url, "--timeout", str(timeout), *header_options()]


@pytest.mark.parametrize(
    "pieces",
    [
        (OK, b"X: y\r\n" * 101, END),
        (b"HTTP/0.9 ", b"y" * 70_000),
        (OK, b"Content-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n", END, b"[1]"),
        (OK, CHUNKED, END, b"zz\r\n"),
        (OK, CHUNKED, END, b"2\r\n[1\r\n5"),
        (OK, b"Content-Encoding: gzip\r\n", END, b"[1]"),
        (OK, b"Content-Length: 99999999\r\n", END, bytes(17 * MIB)),
    ],
    ids=range(7),
)
def test_the_verifier_hangs_up_at_once_on_what_it_cannot_use(pieces):
    gc.disable()  # which would close what was forgotten, some time
    try:
        with hostile_server(then_listens(*pieces)) as server:
            watched = Watched(server.url, PATIENCE * 5)
            assert tfmark.verify(watched, KEY).status == "inconclusive"
            while len(server.hung_up) < server.connections:
                time.sleep(0.01)
        assert all(server.hung_up)
    finally:
        gc.enable()


@cases(QUICK)
def test_the_command_says_the_same(case, elsewhere, key_file, pauses):
    with hostile_server(case.behaviour, labels=LABELS, elsewhere=elsewhere) as server:
        result = CliRunner().invoke(main, command(key_file, server), color=True)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    assert result.exit_code == EXIT_CODES[case.status], result.output
    assert re.search(case.text, result.output) or case.status != "inconclusive"
    assert result.output.startswith(case.status)
    *said, last = result.output.splitlines()
    assert len(said) == 1 + (case.status == "not shown")
    assert (last == "--thorough asks more, and sees more.") == (case.status == "not shown")
    check_nothing_leaks(result.output)
    assert all(0 <= pause <= 30 for pause in pauses)
    assert (
        len(pauses) <= 3 * 4 + 2
    )  # smaller batches may help against 429: 10, 5, 2, 1; and metadata


@cases(QUICK)
def test_asked_thoroughly_they_get_no_further(case, elsewhere, key_file, pauses):
    """No answer proves anything but those that match, and none ends the command in another way."""
    with hostile_server(case.behaviour, labels=LABELS, elsewhere=elsewhere) as server:
        result = CliRunner().invoke(main, [*command(key_file, server), "--thorough"], color=True)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    status = result.output.partition(":")[0]
    assert status != "owned" or case.status == "owned"
    assert result.exit_code == EXIT_CODES[status]
    assert len(result.output.splitlines()) == 2
    check_nothing_leaks(result.output)


MEASURED = """
import atexit, re, sys
from pathlib import Path
from tfmark.cli import main
status = Path("/proc/self/status")
atexit.register(lambda: print("peak", re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]))
main()
"""


def start(arguments, **environment):
    """The command in a process of its own, which at last tells its peak memory."""
    return subprocess.Popen(
        [sys.executable, "-c", MEASURED, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        env=os.environ | environment,
    )  # fmt: skip


def finish(process):
    """Exit code, what was printed, and peak memory in bytes."""
    try:
        output, _ = process.communicate(timeout=HANG)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    printed, _, peak = output.rpartition("peak ")
    return process.returncode, printed, int(peak) << 10


@cases([case for case in TABLE if case.bomb])
def test_memory_is_bounded(case, key_file):
    with hostile_server(case.behaviour, labels=LABELS) as server:
        code, printed, peak = finish(start(command(key_file, server)))
    assert code == EXIT_CODES[case.status], printed
    assert re.search(case.text, printed), printed
    check_nothing_leaks(printed)
    assert peak < MEMORY, f"{peak / MIB:.0f} MiB"


def test_memory_is_bounded_for_large_images_by_the_thousand(tmp_path):
    key = new_key(96, 96, 3)
    key.save(tmp_path / "large.tfmark")
    with hostile_server(described(signature((1024, 96, 96, 3)), status(403))) as server:
        code, printed, peak = finish(start(command(tmp_path / "large.tfmark", server)))
    assert code == EXIT_CODES["inconclusive"], printed
    assert peak < MEMORY, f"{peak / MIB:.0f} MiB"


def test_a_server_that_hangs_ends_the_command_in_time(key_file):
    """All tries and the pauses between them, side by side."""
    chosen = [never_reads, drip(OK * 999), endless(OK, b"X: y\r\n", pause=0.05), resets_at_once]
    with ExitStack() as stack:
        servers = [stack.enter_context(hostile_server(behaviour)) for behaviour in chosen]
        processes = [start(command(key_file, server, PATIENCE)) for server in servers]
        results = [finish(process) for process in processes]
    for code, printed, _ in results:
        assert code == EXIT_CODES["inconclusive"]
        assert re.search(f"within {PATIENCE:g} s|broke the connection off|accept", printed)
        check_nothing_leaks(printed)


@cases([*ECHOES, *DESCRIPTIONS])
def test_what_a_service_says_of_itself_is_shown_with_care(case, elsewhere):
    """`tfmark probe` asks servers that are as hostile."""
    with hostile_server(case.behaviour, labels=LABELS, elsewhere=elsewhere) as server:
        result = CliRunner().invoke(main, ["probe", server.url, *header_options()], color=True)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    check_nothing_leaks(result.output)
    assert len(result.output) < 100_000


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_the_terminal_does_not_have_do_not_change_the_verdict(key_file, encoding):
    with hostile_server(status(400, "Kein Schl\u00fcssel \u2603")) as server:
        process = start(command(key_file, server), PYTHONIOENCODING=encoding)
        code, printed, _ = finish(process)
    assert "Traceback" not in printed
    assert code == EXIT_CODES["inconclusive"]


SIGNED = "?sig=s1gn%2Fature%2B1234%3D%3D"


@pytest.mark.parametrize("echoed", ["s1gn/ature+1234==", SIGNED])
def test_a_key_in_the_address_is_not_repeated(echoed):
    with hostile_server(status(403, f"Signature {echoed} did not match")) as server:
        verdict = tfmark.verify(server.url + SIGNED, KEY, timeout=5.0)
    assert "403: Signature" in verdict.reason
    assert "ature" not in verdict.reason.partition("403: Signature")[2]


def test_a_key_in_the_address_is_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    with hostile_server(right, labels=LABELS) as server:
        assert tfmark.verify(server.url + SIGNED, KEY, timeout=5.0).owned
    assert "s1gn" not in caplog.text


def test_the_table_is_large():
    assert len(TABLE) >= 60
    assert len({case.name for case in TABLE}) == len(TABLE)
