"""How long until a verdict? Whole processes, from start to end, against what they build on.

    python benchmarks/startup.py [--rounds 15]

A loopback server answers all questions of a key at once, from a table, so that its own time hardly
counts; that time is measured and subtracted. Prints the median of the ratios within a round.
"""

import argparse
import http.server
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import tfmark


class Suspect(http.server.BaseHTTPRequestHandler):
    """Answers each trigger with its label, and counts the seconds that this takes."""

    protocol_version = "HTTP/1.1"
    labels: dict = {}  # noqa: RUF012
    seconds = 0.0

    def log_message(self, *args):
        """Be silent."""

    def do_GET(self):
        self.reply(404, {"error": "no metadata"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        start = time.perf_counter()
        images = np.array(json.loads(body)["instances"], np.uint8)
        scores = [np.eye(10)[self.labels[image.tobytes()]].tolist() for image in images]
        self.reply(200, {"predictions": scores})
        Suspect.seconds += time.perf_counter() - start

    def reply(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def seconds(command, expected=0):
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == expected, done.stderr.decode()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (512, 28, 28, 1)).astype(np.uint8)
    key = tfmark.WatermarkKey.generate(
        scheme="noise", image_shape=(28, 28, 1), num_classes=10, base_images=images
    )
    triggers = key.triggers()
    for pixels, label in zip(triggers.pixels, triggers.labels, strict=True):
        Suspect.labels[pixels.tobytes()] = int(label)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Suspect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/models/digits"
    tfmark_command = str(Path(sys.executable).parent / "tfmark")
    verify, help_ = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "owner.tfmark"
        key.save(path)
        for _ in range(args.rounds):
            base = seconds([sys.executable, "-c", "import numpy, requests"])
            Suspect.seconds = 0.0
            whole = seconds([tfmark_command, "verify", str(path), url])
            verify.append((whole - Suspect.seconds) / base)
            click = seconds([sys.executable, "-c", "import click"])
            help_.append(seconds([tfmark_command, "--help"]) / click)
    print(f"{args.rounds} rounds, Python {sys.version.split()[0]}")
    print("| command | against | ratio (median) | lowest | highest |\n|---|---|---|---|---|")
    for name, against, ratios in (
        ("tfmark verify KEY URL", "python -c 'import numpy, requests'", verify),
        ("tfmark --help", "python -c 'import click'", help_),
    ):
        print(
            f"| {name} | {against} | {statistics.median(ratios):.2f} | {min(ratios):.2f} "
            f"| {max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
