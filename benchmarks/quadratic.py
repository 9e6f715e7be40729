"""Quadratic erasure and concept-erasure: time, and how exact it is."""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

try:
    from benchmarks import common
except ImportError:  # Run as a file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import common

CE = ("concept-erasure==0.2.4", "torch==2.13.0", "numpy<2")

PEER = """
import json, sys, time
import numpy as np, torch
from concept_erasure import QuadraticFitter
arguments = json.load(sys.stdin)
torch.set_num_threads(arguments["threads"])
data = np.load(arguments["data"])
x, z = torch.from_numpy(data["x"]), torch.from_numpy(data["z"])
start = time.perf_counter()
fitter = QuadraticFitter.fit(x, z, shrinkage=False)
fitted = time.perf_counter()
eraser = fitter.eraser
made = time.perf_counter()
erased = eraser(x, z)
end = time.perf_counter()
np.save(arguments["erased"], erased.numpy())
print(json.dumps(dict(fit=fitted-start, eraser=made-fitted, erase=end-made)))
"""


def data(rows, dim, classes, dtype):
    """Classes with different means and covariances around a shared one."""
    rng = np.random.default_rng(0)
    z = np.concatenate(
        [np.arange(classes), rng.integers(0, classes, rows - classes)]
    )
    scale = np.linspace(0.3, 3, dim)
    x = np.empty((rows, dim), dtype)
    for i in range(classes):
        mine = z == i
        mix = np.eye(dim) + 0.3 * rng.standard_normal((dim, dim)) / dim**0.5
        noise = rng.standard_normal((mine.sum(), dim))
        x[mine] = (noise * scale) @ mix + rng.standard_normal(dim)
    return x, z


def deviation(x, z):
    """Largest difference of class covariances, relative to the largest."""
    covs = np.stack([np.cov(x[z == i].T.astype(float)) for i in np.unique(z)])
    return float(np.abs(covs - covs.mean(0)).max() / np.abs(covs).max())


def ours(x, z):
    from tensorflow_model_remediation_ext.leace.quadratic import (
        QuadraticFitter,
    )

    start = time.perf_counter()
    fitter = QuadraticFitter.fit(x, z)
    fitted = time.perf_counter()
    eraser = fitter.eraser
    made = time.perf_counter()
    erased = eraser(x, z).numpy()
    end = time.perf_counter()
    times = {
        "fit": fitted - start,
        "eraser": made - fitted,
        "erase": end - made,
    }
    return times, erased


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--peer-python", metavar="PYTHON")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.dim, arguments.classes = 500, 16, 3

    import tempfile

    common.limit_threads(arguments.threads)
    if not arguments.quick:
        python = common.peer_python("ce", CE, arguments.peer_python)
    figures, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = {"data": f"{folder}/data.npz", "erased": f"{folder}/erased.npy"}
        for dtype in ("float64", "float32"):
            x, z = data(arguments.rows, arguments.dim, arguments.classes, dtype)
            np.savez(files["data"], x=x, z=z)
            ours(x, z)  # Traces the functions.
            times, exact = {"ours": []}, {}
            for _ in range(arguments.repeats):
                run, erased = ours(x, z)
                times["ours"].append(run)
                exact["ours"] = deviation(erased, z)
                if arguments.quick:
                    continue
                run = common.run_peer(
                    python, PEER, threads=arguments.threads, **files
                )
                times.setdefault("concept-erasure", []).append(run)
                erased = np.load(files["erased"])
                exact["concept-erasure"] = deviation(erased, z)
            for who, runs in times.items():
                parts = {
                    part: statistics.median(run[part] for run in runs)
                    for part in ("fit", "eraser", "erase")
                }
                total = parts["fit"] + parts["eraser"]
                figures.append(
                    {
                        "dtype": dtype,
                        "who": who,
                        **parts,
                        "total": total,
                        "deviation": exact[who],
                    }
                )
                rows.append(
                    [dtype, who]
                    + [f"{value:.2f}" for value in parts.values()]
                    + [f"{total:.2f}", f"{exact[who]:.1e}"]
                )
    table = common.markdown(
        [
            "data",
            "library",
            "fit s",
            "eraser s",
            "erase all rows s",
            "fit and eraser s",
            "class covariances differ by",
        ],
        rows,
    )
    title = (
        f"Quadratic erasure of {arguments.classes} classes, {arguments.rows:,} "
        f"rows of {arguments.dim}, {arguments.threads} threads"
    )
    common.report(title, table, {"quadratic": figures}, arguments.json)


if __name__ == "__main__":
    main()
