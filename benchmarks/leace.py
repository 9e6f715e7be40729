"""LEACE and concept-erasure: statistics, erasers, memory, precision.

Ours multiplies with NumPy's BLAS. Where OPENBLAS_CORETYPE is set, that runs
with another processor's code and is slower: unset it for this command.
"""

import argparse
import json
import resource
import subprocess
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
K = 2
FULL = {
    "updates": [
        (dtype, dim, batch)
        for dtype in ("float32", "float64")
        for dim in (768, 2048)
        for batch in (1024, 4096)
    ],
    "streams": (768, 2048),
    "erasers": (1024, 2048, 4096),
    "erasures": (768, 2048),
    "rows": 50_000,
    "streamed": 1_000_000,
}
QUICK = {
    "updates": [("float32", 32, 64), ("float64", 32, 64)],
    "streams": (32,),
    "erasers": (32,),
    "erasures": (32,),
    "rows": 500,
    "streamed": 10_000,
}
SECTIONS = ("updates", "streams", "erasers", "erasures", "folded", "errors")
OFFSETS = (0.0, 1e2, 1e4)

# Both sides take the shortest of several calls, on the same data.
PEER = """
import json, sys, time
import numpy as np, torch
from concept_erasure import LeaceFitter
arguments = json.load(sys.stdin)
torch.set_num_threads(arguments["threads"])
job, dim, rows = (arguments[k] for k in ("job", "dim", "rows"))
rng = np.random.default_rng(0)
x = torch.from_numpy(
    (rng.standard_normal((rows, dim)) + arguments["offset"])
    .astype(arguments["dtype"]))
z = torch.nn.functional.one_hot(torch.arange(rows) % 2).to(x.dtype)
fitter = LeaceFitter(dim, 2, dtype=x.dtype)
if job == "update":
    call = lambda: fitter.update(x, z)
elif job == "stream":
    def call():
        for part, labels in zip(x.split(32), z.split(32)):
            fitter.update(part, labels)
elif job == "eraser":
    fitter.update(x, z)
    def call():
        fitter.update(x[:1], z[:1])
        start = time.perf_counter()
        fitter.eraser
        return time.perf_counter() - start
elif job == "erase":
    fitter.update(x[:4096], z[:4096])
    eraser = fitter.eraser
    call = lambda: eraser(x)
if job == "error":
    fitter = LeaceFitter(dim, 2, dtype=x.dtype, shrinkage=False)
    for part, labels in zip(x.split(1024), z.split(1024)):
        fitter.update(part, labels)
    truth = np.cov(x.numpy().astype(np.float64).T)
    result = float(np.abs(fitter.sigma_xx.double().numpy() - truth).max())
else:
    times = []
    for _ in range(arguments["repeats"] + 1):
        start = time.perf_counter()
        measured = call()
        end = time.perf_counter()
        times.append(measured if job == "eraser" else end - start)
    result = min(times[1:])
print(json.dumps(dict(result=result)))
"""


def data(rows, dim, dtype, offset=0.0):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((rows, dim)) + offset).astype(dtype)
    return x, np.eye(K, dtype=dtype)[np.arange(rows) % K]


class Runner:
    """Runs one job here and in the peer's environment."""

    def __init__(self, arguments):
        self.sizes, self.python = QUICK, None
        self.threads, self.repeats = arguments.threads, 1
        if not arguments.quick:
            self.sizes, self.repeats = FULL, arguments.repeats
            self.python = common.peer_python("ce", CE, arguments.peer_python)

    def peer(self, job, dim, rows, dtype, offset=0.0, repeats=None):
        """What the peer takes, in seconds, or how far it is off."""
        if self.python is None:
            return float("nan")
        return common.run_peer(
            self.python,
            PEER,
            job=job,
            dim=dim,
            rows=rows,
            dtype=dtype,
            offset=offset,
            threads=self.threads,
            repeats=repeats or self.repeats,
        )["result"]

    def updates(self):
        """Rows per second of `update`."""
        import tensorflow as tf

        from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

        for dtype, dim, batch in self.sizes["updates"]:
            x, z = map(tf.constant, data(batch, dim, dtype))
            fitter = LeaceFitter(dim, K)
            ours = common.seconds(
                lambda f=fitter, x=x, z=z: f.update(x, z), self.repeats
            )
            product = common.seconds(
                lambda x=x: tf.matmul(x, x, transpose_a=True), self.repeats
            )
            yield (
                f"update, {dtype}, d={dim}, batches of {batch}: rows/s",
                batch / ours,
                batch / self.peer("update", dim, batch, dtype),
                f"{product / ours:.0%} of the rate of `tf.matmul`",
            )

    def streams(self):
        """Rows per second of `fit_dataset`, in Keras' usual batches of 32."""
        import tensorflow as tf

        from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

        rows = 32 * (self.sizes["rows"] // 320)
        for dim in self.sizes["streams"]:
            x, z = map(tf.constant, data(rows, dim, "float32"))
            batches = list(
                zip(*(tf.split(v, rows // 32) for v in (x, z)), strict=True)
            )
            fitter = LeaceFitter(dim, K)
            ours = common.seconds(
                lambda f=fitter, b=batches: f.fit_dataset(b, verbose=0),
                self.repeats,
            )
            theirs = self.peer("stream", dim, rows, "float32")
            name = f"fit_dataset, float32, d={dim}, batches of 32: rows/s"
            yield name, rows / ours, rows / theirs, "theirs: update by batch"

    def erasers(self):
        """Erasers per second, from the statistics."""
        from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

        for dim in self.sizes["erasers"]:
            x, z = data(2 * dim, dim, "float64")
            fitter = LeaceFitter(dim, K).update(x, z)
            times = []
            for _ in range(self.repeats):
                fitter.update(x[:1], z[:1])
                start = time.perf_counter()
                _ = fitter.eraser
                times.append(time.perf_counter() - start)
            theirs = self.peer("eraser", dim, 2 * dim, "float64", repeats=2)
            yield (
                f"eraser, float64, d={dim}: per s",
                1 / min(times),
                1 / theirs,
                "",
            )

    def erasures(self):
        """Rows per second of an eraser."""
        import tensorflow as tf

        from tensorflow_model_remediation_ext.leace.keras import LeaceEraser

        rows = self.sizes["rows"]
        for dim in self.sizes["erasures"]:
            x, z = data(rows, dim, "float32")
            eraser = LeaceEraser.fit(x[:4096], z[:4096])
            x = tf.constant(x)
            ours = common.seconds(lambda e=eraser, x=x: e(x), self.repeats)
            theirs = self.peer("erase", dim, rows, "float32")
            name = f"erasing {rows:,} rows, float32, d={dim}: rows/s"
            yield name, rows / ours, rows / theirs, ""

    def folded(self):
        """Rows per second of a Dense layer with an eraser in it."""
        import keras
        import tensorflow as tf

        from tensorflow_model_remediation_ext.leace.keras import LeaceEraser

        x, z = data(20_000, 768, "float32")
        dense = keras.layers.Dense(256)
        dense.build((None, 768))
        folded = LeaceEraser.fit(x, z).fold_into(dense)
        x = tf.constant(x)
        times = {"plain": [], "folded": []}
        steps = {
            "plain": tf.function(dense.__call__),
            "folded": tf.function(folded.__call__),
        }
        for _ in range(2 * self.repeats + 1):  # By turns, against drift.
            for name, step in steps.items():
                start = time.perf_counter()
                step(x).numpy()
                times[name].append(time.perf_counter() - start)
        plain, ours = (min(times[name][1:]) for name in ("plain", "folded"))
        name = (
            "Dense(256) on 20,000 rows of 768, with an eraser folded in: rows/s"
        )
        yield name, len(x) / ours, len(x) / plain, "theirs: the plain Dense"

    def errors(self):
        """Inverse error of the covariance."""
        from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

        dim, rows = 256, self.sizes["rows"]
        for offset in OFFSETS:
            x, z = data(rows, dim, "float32", offset)
            fitter = LeaceFitter(dim, K, shrinkage=False)
            for i in range(0, rows, 1024):
                fitter.update(x[i : i + 1024], z[i : i + 1024])
            truth = np.cov(x.astype(np.float64).T)
            ours = np.abs(fitter.sigma_xx - truth).max()
            theirs = self.peer("error", dim, rows, "float32", offset)
            yield (
                f"1 / largest error of Σ, float32 data at offset {offset:g}",
                1 / ours,
                1 / theirs,
                f"{ours:.1e} and {theirs:.1e}",
            )


def memory(threads, rows):
    """Growth of the peak memory over a stream, in MB, in this process."""
    import tensorflow as tf

    from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

    common.limit_threads(threads)
    x, z = data(4096, 1024, "float32")
    x, z = tf.constant(x), tf.constant(z)
    float(tf.reduce_sum(tf.matmul(x[:8], x, transpose_b=True)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fitter = LeaceFitter(1024, K)
    while fitter.n < rows:
        fitter.update(x, z)
    _ = fitter.eraser
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps((peak - before) / 1024) + "\n")


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--peer-python", metavar="PYTHON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--only",
        choices=[*SECTIONS, "memory"],
        nargs="*",
    )
    parser.add_argument(
        "--measure-memory", help=argparse.SUPPRESS, action="store_true"
    )
    arguments = parser.parse_args()
    if arguments.measure_memory:
        sizes = QUICK if arguments.quick else FULL
        return memory(arguments.threads, sizes["streamed"])

    common.limit_threads(arguments.threads)
    runner, figures, rows = Runner(arguments), [], []
    for section in SECTIONS:
        if arguments.only and section not in arguments.only:
            continue
        for what, ours, theirs, note in getattr(runner, section)():
            figures.append({"what": what, "ours": ours, "theirs": theirs})
            rows.append(
                [
                    what,
                    f"{ours:,.5g}",
                    f"{theirs:,.5g}",
                    f"{ours / theirs:.2f}",
                    note,
                ]
            )
    if not arguments.only or "memory" in arguments.only:
        done = subprocess.run(
            [sys.executable, __file__, "--measure-memory"]
            + ["--threads", str(arguments.threads)]
            + ["--quick"] * arguments.quick,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        grown = json.loads(done.stdout.splitlines()[-1])
        what = "streaming 10⁶ rows at d=1024, peak memory grows by: MB"
        figures.append({"what": what, "ours": grown})
        rows.append([what, f"{grown:.0f}", "", "", ""])
    table = common.markdown(
        ["what", "ours", "concept-erasure 0.2.4", "times", ""], rows
    )
    title = f"LEACE, k={K}, {arguments.threads} threads"
    common.report(title, table, {"leace": figures}, arguments.json)
    return None


if __name__ == "__main__":
    main()
