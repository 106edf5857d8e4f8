"""One bash for the commands of a page, as its reader has one terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 600  # for one block, after which it is taken to hang

# Each block is read from a file, so that nothing in it can eat those that follow. Benchmarks take
# hours: `test_benchmarks_take_what_pages_say` looks at their arguments.
LOOP = """
python() { case $1 in benchmarks/*) ;; *) command python "$@" ;; esac; }
trap 'echo "failed in line $LINENO" >&2' ERR
while IFS= read -r block <&%(blocks)d; do
  source "$block" > "$block.out" 2>&1 < /dev/null %(blocks)d<&- %(done)d>&-
  echo >&%(done)d
done
"""


class CommandError(AssertionError):
    """A command of a page failed, or did not end."""


class Shell:
    """Runs blocks of commands in one bash; the first command that fails ends it.

    Args:
        folder: where commands run.
        files: an empty folder for the blocks and what they write to the terminal.
    """

    def __init__(self, folder: Path, files: Path):
        self._files, self._count = files, 0
        blocks, self._blocks = os.pipe()
        self._done, done = os.pipe()
        here = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),  # this checkout's tfmark, and what hidden blocks import
            "PIP_NO_INDEX": "1",  # `pip install` holds if the environment has it all already
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",  # what TensorFlow says depends on the machine
        }
        self._bash = subprocess.Popen(
            ["bash", "-Eeuo", "pipefail", "-c", LOOP % {"blocks": blocks, "done": done}],
            cwd=folder, env=os.environ | here, pass_fds=(blocks, done), start_new_session=True,
        )  # fmt: skip
        os.close(blocks)
        os.close(done)

    def run(self, commands: str) -> str:
        """Run commands and return what they wrote.

        Raises:
            CommandError: if one fails, or they take too long.
        """
        self._count += 1
        block = self._files / f"{self._count}.sh"
        block.write_text(commands)
        os.write(self._blocks, f"{block}\n".encode())
        readable, _, _ = select.select([self._done], [], [], SECONDS)
        ended = bool(readable) and os.read(self._done, 1) == b"\n"
        written = block.with_suffix(".sh.out").read_text()
        if not ended:
            problem = "a command failed" if readable else f"not done in {SECONDS} seconds"
            raise CommandError(f"{problem}:\n{commands}\n{written}")
        for port in re.findall(r"^tfmark serve .*--port (\d+) &$", commands, re.MULTILINE):
            _wait_for(int(port))
        return written

    def close(self) -> None:
        """End the shell and whatever still runs in it."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        os.close(self._blocks)
        os.close(self._done)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise CommandError(f"Nothing listens on port {port}.")
