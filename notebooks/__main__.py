"""Runs every notebook from top to bottom: `python -m notebooks [NAME ...]`.

Each runs in an empty directory, from a copy: what is in git keeps its outputs
cleared. An error or a warning in a cell is a failure. The executed copies are
written to the directory `--output-dir`, to be looked at.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile
import time

import nbclient
import nbformat

HERE = pathlib.Path(__file__).parent
LIMIT = 180  # Seconds, on two idle cores.
# Python's own form of a warning; what TensorFlow logs on its devices is none.
WARNING = re.compile(r"^.*\b\w*Warning: .*$", re.MULTILINE)


def run(path: pathlib.Path, output_dir: pathlib.Path | None) -> list[str]:
    """Executes a notebook and returns what is wrong with it."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    problems = [
        f"cell {i}: its outputs are in git"
        for i, cell in enumerate(cells)
        if cell.outputs or cell.execution_count
    ]
    with tempfile.TemporaryDirectory() as scratch:
        client = nbclient.NotebookClient(
            notebook,
            timeout=None,
            resources={"metadata": {"path": scratch}},
        )
        try:
            client.execute()
        except nbclient.exceptions.CellExecutionError as error:
            problems.append(str(error))
    for i, cell in enumerate(cells):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                problems += [
                    f"cell {i}: {found}"
                    for found in WARNING.findall(output.text)
                ]
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, output_dir / path.name)
    return problems


def main() -> None:
    """Runs the notebooks that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(path.stem for path in HERE.glob("*.ipynb"))
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names)}")
    parser.add_argument("--output-dir", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    failed = False
    for name in arguments.name or names:
        start = time.perf_counter()
        problems = run(HERE / f"{name}.ipynb", arguments.output_dir)
        seconds = time.perf_counter() - start
        if seconds > arguments.limit:
            problems.append(f"took more than {arguments.limit:.0f} s")
        print(f"{name}: {'failed' if problems else 'ran'} in {seconds:.0f} s")
        for problem in problems:
            print(f"  {problem}")
        failed |= bool(problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
