"""How fast is the client? Against a bare socket loop that sends the same bodies to the same server.

    python benchmarks/client.py [--server embedded sink] [--seconds 4] [--memory 10000]

Requests per second of `tfmark`'s client, encoding of images and decoding of answers included, over
those of a loop that sends bodies made beforehand over one connection and reads the answers unread.
The two take turns. Servers run in a process of their own: the embedded server with a small CNN, and
a sink that reads a request and answers ten scores for each image without looking at it, which is
the hardest comparison there can be. `--memory` also asks so many times and reports the growth.
"""

import argparse
import json
import multiprocessing
import resource
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tfmark.endpoints import Connection, Dialect, Suspect, Task, TFServing
from tfmark.endpoints.http import HttpClient

CASES = [((28, 28, 1), 0.8), ((224, 224, 3), 0.7)]
BATCHES = (1, 8, 32)


def embedded(shape, pipe):
    """Serve a small CNN until the other end of the pipe closes."""
    import keras

    import tfmark

    layers = keras.layers
    model = keras.Sequential([
        keras.Input(shape), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, 4, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/m/1", verbose=False)
        with tfmark.serve(folder, server="embedded") as server:
            pipe.send(server.url("m"))
            pipe.recv()


def sink(shape, pipe):
    """Answer ten scores for each image that the header X-Images counts."""

    def talk(connection):
        with connection, connection.makefile("rb") as file:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while answer_one(connection, file):
                pass

    def accept():
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    pipe.send(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models/m")
    pipe.recv()


def answer_one(connection, file):
    request, headers = file.readline(), {}
    while (line := file.readline().strip()) and request:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    if not request:
        return False
    left = int(headers.get(b"content-length", 0))
    while left:
        left -= len(file.read1(min(left, 1 << 20)))
    count = int(headers.get(b"x-images", 1))
    found = request.startswith(b"POST")
    body = json.dumps({"predictions": [[0.1] * 10] * count}).encode() if found else b"{}"
    status = b"200 OK" if found else b"404 Not Found"
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % (status, len(body)) + body)
    return True


class Bare:
    """Sends one body over and over on one connection."""

    def __init__(self, url, body, count):
        host, path = url.removeprefix("http://").split("/", 1)
        name, port = host.split(":")
        self.socket = socket.create_connection((name, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        head = (
            f"POST /{path}:predict HTTP/1.1\r\nHost: {host}\r\nX-Images: {count}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body

    def __call__(self):
        self.socket.sendall(self.request)
        length = 0
        while (line := self.file.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.file.read(length)


class Recording(HttpClient):
    """A client that keeps the last body it sent."""

    def post(self, url, body):
        self.body = body
        return super().post(url, body)


def rate(call, seconds):
    """Calls per second, and processor seconds of this process for each call."""
    count, start, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds or count < 3:
        call()
        count += 1
    return count / (time.perf_counter() - start), (time.process_time() - used) / count


def compare(url, shape, count, seconds, rounds):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    dialect = Dialect(batch_size=count)
    client = Recording(Connection(headers={"X-Images": str(count)}))
    suspect = Suspect(TFServing(url, dialect, client), Task(shape, (0, 255), 10), dialect)
    suspect.classify(images)
    bare = Bare(url, client.body, count)
    calls = {"client": lambda: suspect.classify(images), "bare": bare}
    results = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            results[name].append(rate(call, seconds / rounds))
    ratios = [a[0] / b[0] for a, b in zip(results["client"], results["bare"], strict=True)]
    client_rate, bare_rate = (statistics.median(r[0] for r in results[n]) for n in calls)
    own = statistics.median(r[1] for r in results["client"])
    bare.file.close()
    bare.socket.close()
    return statistics.median(ratios), min(ratios), max(ratios), client_rate, bare_rate, own


def growth(url, shape, requests):
    """Growth of the resident memory over so many requests, in MiB, after a tenth of them."""
    images = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
    dialect = Dialect()
    client = HttpClient(Connection(headers={"X-Images": "1"}))
    suspect = Suspect(TFServing(url, dialect, client), Task(shape, (0, 255), 10), dialect)
    before = 0
    for i in range(requests):
        suspect.classify(images)
        if i == requests // 10:
            before = resident()
    return resident() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", nargs="+", default=["embedded", "sink"])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=0)
    args = parser.parse_args()
    print("| server | images | ratio (median) | lowest | highest | client / s | bare / s "
          "| client's processor time, ms | target |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    spawn = multiprocessing.get_context("spawn")
    for kind in args.server:
        for shape, target in CASES:
            ours, theirs = spawn.Pipe()
            serve = {"embedded": embedded, "sink": sink}[kind]
            process = spawn.Process(target=serve, args=(shape, theirs))
            process.start()
            url = ours.recv()
            for count in BATCHES:
                ratio, low, high, client, bare, own = compare(
                    url, shape, count, args.seconds, args.rounds
                )
                name = f"{count} of {'x'.join(map(str, shape))}"
                print(f"| {kind} | {name} | {ratio:.2f} | {low:.2f} | {high:.2f} | {client:.1f} "
                      f"| {bare:.1f} | {own * 1e3:.2f} | {target} |", flush=True)  # fmt: skip
            if args.memory and kind == "sink" and shape == CASES[0][0]:
                grown, most = growth(url, shape, args.memory)
                memory = f"{args.memory} requests: memory grew {grown:.1f} MiB, to {most:.0f} MiB"
            ours.send("end")
            process.join()
    if args.memory:
        print(memory)


if __name__ == "__main__":
    main()
