"""How many endpoints a minute `tfmark scan` verifies.

    python benchmarks/scan.py [--endpoints 1000] [--rounds 3] [--concurrency 16] [--out results.md]

One server in another process answers for all of them on loopback, from a table: 1 % are models with
the watermark, 99 % innocent ones whose answers to each image are drawn by their number. In each
round the whole command is timed, and then a bare socket loop that sends the same requests again,
one endpoint after the other: that is the server's own time, more or less.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import urllib3

import tfmark

SEED = 0
HEAD = "{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}"
SHAPE = (28, 28, 1)
DIMENSIONS = [{"size": str(side), "name": ""} for side in (-1, *SHAPE)]
TENSOR = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": DIMENSIONS, "unknown_rank": False}}
SIGNATURE = {"inputs": {"image": TENSOR}, "outputs": {}, "method_name": "predict"}
METADATA = {"metadata": {"signature_def": {"signature_def": {"serving_default": SIGNATURE}}}}
SCORES = [json.dumps(row) for row in np.eye(10).tolist()]


def reply(text):
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


class Models(asyncio.Protocol):
    """Answers requests; keeps what it was asked, each body once."""

    labels: dict = {}  # noqa: RUF012  of triggers
    images: dict = {}  # noqa: RUF012  of bodies, by their hash: checksum and label of each image
    bodies: dict = {}  # noqa: RUF012
    asked: dict = {}  # noqa: RUF012  of endpoints, by their path: methods, paths, hashes of bodies
    metadata = reply(json.dumps(METADATA))

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        self.rest += data
        head, found, body = self.rest.partition(b"\r\n\r\n")
        if not found:
            return
        _, name, length = head.lower().partition(b"content-length: ")
        length = int(length.partition(b"\r\n")[0]) if name else 0
        if len(body) >= length:
            self.rest = body[length:]
            method, path, _ = head.decode("latin-1").split(" ", 2)
            self.transport.write(self.answer(method, path, body[:length]))

    def answer(self, method, path, body):
        if path == "/facts":
            facts = {"asked": self.asked, "seconds": time.process_time()}
            return reply(json.dumps(facts))
        if path.startswith("/body/"):
            return reply(self.bodies[int(path[6:])].decode())
        model = path.split("/")[3].partition(":")[0]
        digest = hash(body)
        self.asked.setdefault(model, []).append((method, path, digest))
        if method == "GET":
            self.bodies[digest] = body
            return self.metadata
        if digest not in self.images:
            self.bodies[digest] = body
            rows = np.array(json.loads(body)["instances"], np.uint8)
            keys = [row.tobytes() for row in rows]
            self.images[digest] = [(zlib.crc32(key), self.labels[key]) for key in keys]
        number, marked = int(model[1:]), model[0] == "m"
        rows = (
            SCORES[label if marked else (crc ^ number * 2654435761) % 4294967291 % 10]
            for crc, label in self.images[digest]
        )
        return reply(f'{{"predictions": [{", ".join(rows)}]}}')


def serve(key, ports):
    triggers = key.triggers()
    for pixels, label in zip(triggers.pixels, triggers.labels, strict=True):
        Models.labels[pixels.tobytes()] = int(label)

    async def run():
        server = await asyncio.get_running_loop().create_server(Models, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def scan(folder, number, url, args):
    """Time a whole scan, and the processor's time for it; check what it found."""
    names = [f"{'m' if i % 100 == 0 else 'i'}{number}{i:06}" for i in range(args.endpoints)]
    listed = folder / f"{number}.txt"
    listed.write_text("".join(f"{url}/v1/models/{name}\n" for name in names))
    command = [str(Path(sys.executable).parent / "tfmark"), "scan", str(folder / "owner.tfmark"),
               str(listed), "--json-lines", "--concurrency", str(args.concurrency)]  # fmt: skip
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    found = {verdict["endpoint"].rpartition("/")[2] for verdict in verdicts if verdict["owned"]}
    assert len(verdicts) == args.endpoints
    assert found == {name for name in names if name[0] == "m"}
    processor = after.children_user + after.children_system
    return seconds, processor - before.children_user - before.children_system, names


def replay(port, names, asked, bodies):
    """Time a bare loop that sends the same requests, and count them."""
    texts = [
        [
            HEAD.format(method, path, len(bodies[digest])).encode() + b"\r\n\r\n" + bodies[digest]
            for method, path, digest in asked[name]
        ]
        for name in names
    ]
    start = time.perf_counter()
    for requests in texts:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in requests:
                sock.sendall(request)
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += sock.recv(1 << 16)
                head, _, body = answer.partition(b"\r\n\r\n")
                left = int(head.rpartition(b" ")[2]) - len(body)
                while left > 0:
                    left -= len(sock.recv(1 << 16))
    return time.perf_counter() - start, sum(map(len, texts))


def table(rows, args):
    whole = [60 * args.endpoints / row[0] for row in rows]
    apart = [60 * args.endpoints / (row[0] - row[2]) for row in rows]
    lines = [
        "## `python benchmarks/scan.py`",
        f"{args.endpoints} endpoints, 1 % marked; {args.concurrency} at a time; {args.rounds} "
        f"rounds; seed {SEED}; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"urllib3 {urllib3.__version__}; {os.cpu_count()} shared CPU cores, load at the end "
        f"{os.getloadavg()[0]:.1f}.",
        "",
        "| round | requests | scan, s | its processor time, s | bare socket loop, s | server's "
        "processor time in the scan, s | endpoints a minute | the bare loop's time apart |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for i, (seconds, processor, bare, server, requests) in enumerate(rows):
        lines.append(
            f"| {i + 1} | {requests} | {seconds:.2f} | {processor:.2f} | {bare:.2f} "
            f"| {server:.2f} | {whole[i]:,.0f} | {apart[i]:,.0f} |"
        )
    lines.append(
        f"| median | | | | | | {statistics.median(whole):,.0f} | {statistics.median(apart):,.0f} |"
    )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    images = np.random.default_rng(SEED).integers(0, 256, (512, *SHAPE)).astype(np.uint8)
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=SHAPE, num_classes=10, base_images=images,
        secret=SEED.to_bytes(32, "big"),
    )  # fmt: skip
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    server = context.Process(target=serve, args=(key, ports), daemon=True)
    server.start()
    port = ports.get(timeout=60)
    url = f"http://127.0.0.1:{port}"
    http, rows = urllib3.PoolManager(), []
    with tempfile.TemporaryDirectory() as folder:
        key.save(Path(folder) / "owner.tfmark")
        for number in range(args.rounds):
            before = http.request("GET", f"{url}/facts").json()
            seconds, processor, names = scan(Path(folder), number, url, args)
            facts = http.request("GET", f"{url}/facts").json()
            asked = facts["asked"]
            digests = {digest for name in names for _, _, digest in asked[name]}
            bodies = {d: http.request("GET", f"{url}/body/{d}").data for d in digests}
            bare, requests = replay(port, names, asked, bodies)
            rows.append((seconds, processor, bare, facts["seconds"] - before["seconds"], requests))
    server.terminate()
    server.join()
    text = table(rows, args)
    print(text)
    if args.out is not None:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
