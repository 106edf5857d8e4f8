"""Executes notebooks from top to bottom, and keeps what they put out.

    python colab/execute.py colab/tfmark_tutorial.ipynb

A Python warning is an error, and so is whatever a cell writes to stderr, apart from `TOLERATED`. A
notebook that fails keeps its old outputs.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

# ipykernel warns of itself when it is shut down; Keras on NumPy 2.4 when it saves a model.
WARNINGS = (
    "error,ignore::PendingDeprecationWarning:ipykernel.kernelbase,"
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
TOLERATED = re.compile(
    # TensorFlow's C++ on being imported: what it found of the machine. No setting keeps it quiet.
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    r"|I0000 .*"
    # matplotlib, the first time in a new environment
    r"|Matplotlib is building the font cache; this may take a moment\."
    r"|"
)


def execute(path, before="", **environment):
    """Execute a notebook in a kernel and a folder of its own.

    Args:
        path: the .ipynb file.
        before: code that the kernel runs first. It is not part of the result.
        **environment: variables for the kernel, on top of those of this process.

    Returns:
        The notebook with its outputs.

    Raises:
        CellExecutionError: if a cell fails.
        RuntimeError: if a cell writes to stderr.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    variables = {**os.environ, "PYTHONWARNINGS": WARNINGS, **environment}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=1800, kernel_name="python3", record_timing=False,
            resources={"metadata": {"path": folder}},
        )  # fmt: skip
        client.execute(env=variables)
    del notebook.cells[0]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        cell.outputs = [output for output in cell.outputs if not _tolerated(output, cell)]
        _renumber(cell, number)
    return notebook


def _tolerated(output, cell):
    """Whether an output is nothing but tolerated words on stderr."""
    if output.get("name") != "stderr":
        return False
    strange = [line for line in output.text.splitlines() if not TOLERATED.fullmatch(line)]
    if strange:
        raise RuntimeError("\n".join(["This cell wrote to stderr:", cell.source, *strange]))
    return True


def _renumber(cell, number):
    """Count as if `before` had not been there."""
    for part in (cell, *(o for o in cell.outputs if o.output_type == "execute_result")):
        part.execution_count = number


def main(paths):
    for path in paths:
        notebook = execute(path)
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path}: {Path(path).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
