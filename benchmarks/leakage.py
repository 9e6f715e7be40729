"""What the strongest readers find after erasure, and what erasure costs.

Erasers, readers and judges each have rows of their own, see
`evaluation.leakage`. Options of erasers were chosen on other rows: tweets
without a female or male term (first or second person), words of other
sentences, and other rows of Adult. `--cache` keeps embeddings. Tasks are
whether a tweet offends, income, and, for lack of better ones, whether a
biography names a year and which half of its sentence a word is in.
"""

import sys
import time
from pathlib import Path

import numpy as np

try:
    from benchmarks import common
except ImportError:  # Run as a file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import common

from benchmarks.leakage_parts import peers, sources

POINTS = (1, 3, 5)


class Timed:
    """A method that notes how long it takes to fit and to apply."""

    def __init__(self, method):
        self._method = method
        self.fitted, self.applied = [], []

    def __call__(self, x, z, task=None):
        """Fits to rows."""
        start = time.perf_counter()
        more = {}
        if "task" in self._method.__code__.co_varnames:
            more["task"] = task
        eraser = self._method(x, z, **more)
        self.fitted.append(time.perf_counter() - start)

        def erase(rows):
            start = time.perf_counter()
            erased = np.asarray(eraser(rows))
            if len(rows) > 100:  # Few are only asked for again.
                self.applied.append((time.perf_counter() - start) / len(rows))
            return erased

        return erase

    def shown(self):
        """Seconds of a fit, and rows erased in one."""
        return [
            f"{np.mean(self.fitted):.1f}",
            f"{1 / min(self.applied):,.0f}",
        ]


def methods(k):
    """Ours and the peers' by name, for `k` classes."""
    from tensorflow_model_remediation_ext.leace.keras import (
        LeaceEraser,
        SoftQuadraticEraser,
        covariance_eraser,
        mmd_eraser,
    )

    classes = {"z_dim": k} if k > 2 else {}

    def rank(most, x):
        return min(most, x.shape[1] // 2)

    found = {
        "LEACE": lambda x, z: LeaceEraser.fit(x, z, **classes),
        "covariance, rank 16": lambda x, z: covariance_eraser(
            x, z, rank(16, x)
        ),
        "MMD, rank 32": lambda x, z: mmd_eraser(x, z, rank(32, x)),
        "soft quadratic": lambda x, z: SoftQuadraticEraser.fit(x, z),
        "peer: LEACE + covariance matching": lambda x, z: peers.matched(x, z),
    }
    # A round takes as many directions as there are classes.
    rounds = 16 if k == 2 else 4
    found[f"peer: INLP, {rounds} rounds"] = lambda x, z: peers.nullspace(
        x, z, rounds
    )
    if k == 2:
        found["orthogonal"] = lambda x, z: LeaceEraser.fit(x, z, method="orth")
        found["soft quadratic, task preserved"] = lambda x, z, task: (
            SoftQuadraticEraser.fit(x, z, preserve=task)
        )
        found["peer: gradient steps"] = lambda x, z: peers.gradients(x, z)
    return {name: Timed(method) for name, method in found.items()}


def speed(rows=50_000, features=384):
    """Seconds to fit; rows per second to apply, and of its products alone."""
    import tensorflow as tf

    from tensorflow_model_remediation_ext.leace.keras import (
        SoftQuadraticFitter,
    )

    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, rows)
    x = rng.normal(size=(rows, features)).astype(np.float32)
    x[:, :8] += z[:, None]
    start = time.perf_counter()
    eraser = SoftQuadraticFitter.fit(x, z).eraser
    fitted = time.perf_counter() - start
    x = tf.constant(x[:8192])
    kernel, maps = (
        tf.cast(v, tf.float32) for v in (eraser.kernel, eraser.maps)
    )

    @tf.function(autograph=False)
    def products(x):
        return x @ kernel, [x @ each for each in tf.unstack(maps)]

    applied = common.seconds(lambda: eraser(x).numpy())
    alone = common.seconds(lambda: [p.numpy() for p in products(x)[1]])
    return {
        "fit_seconds": fitted,
        "apply_rows_per_second": len(x) / applied,
        "products_rows_per_second": len(x) / alone,
    }


def loaded(name, load, args):
    path = args.cache / f"{name}.npz" if args.cache else None
    if path and path.exists() and not args.quick:
        return dict(np.load(path))
    python = None
    if not args.quick and load is not sources.adult:
        python = common.peer_python("hub", common.HUB, args.hub_python)
    found = load(args.data, python)
    if path and not args.quick:
        np.savez(path, **found)
    return found


def table(report, timed):
    def show(estimate):
        value, low, high = estimate
        if np.isnan(value):
            return "-"
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"

    return common.markdown(
        [
            "erased",
            "linear accuracy",
            "strongest accuracy",
            "strongest AUC",
            "by",
            "task accuracy, linear",
            "AUC",
            "accuracy, network",
            "similarity kept",
            "fit, s",
            "rows/s",
        ],
        [
            [
                row.method,
                show(row.linear),
                show(row.accuracy),
                show(row.auc),
                row.auc_reader,
                show(row.task_accuracy),
                f"{row.task_auc.value:.3f}",
                show(row.task_nonlinear_accuracy),
                f"{row.similarity.value:.3f}",
                *(timed[row.method].shown() if row.method in timed else "--"),
            ]
            for row in report.rows
        ],
    )


def budgets(report):
    lines = []
    for points in POINTS:
        before = report.rows[0].task_accuracy.value
        within = sorted(
            (row.auc.value, row.method)
            for row in report.rows
            if not row.control
            and before - row.task_accuracy.value <= points / 100
        )
        best = ", ".join(f"{name} {auc:.3f}" for auc, name in within[:3])
        lines.append(f"- at most {points} points of task accuracy: {best}")
    return "Least strongest AUC\n\n" + "\n".join(lines)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--hub-python", metavar="PYTHON")
    parser.add_argument("--cache", type=Path, metavar="DIR")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", default=common.TWEETS.parent
    )
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of data")
    parser.add_argument("--methods", nargs="*", help="their names")
    args = parser.parse_args()
    from tensorflow_model_remediation_ext import evaluation

    rows = f"{sources.ADULT_ROWS:,} rows"
    every = {
        "tweets": (
            sources.tweets,
            "Tweets through MiniLM: female or male term; offensive",
        ),
        "gap": (
            sources.gap,
            "GAP snippets through MiniLM: gender of the pronoun; a year",
        ),
        "adult": (
            sources.adult,
            f"Adult, {rows}, no rare categories: sex; income",
        ),
        "pos": (
            sources.part_of_speech,
            "Words in MiniLM's last layer: 17 tags; half of the sentence",
        ),
    }
    if args.quick:
        every = {"made up": (sources.made_up, "Made up")}
    figures, tables = {}, []
    for name, (load, title) in every.items():
        if args.only and name not in args.only:
            continue
        data = loaded(name, load, args)
        if "task" not in data:
            data["task"] = sources.halves(data["groups"])
        k = int(data["z"].max()) + 1
        timed, start = methods(k), time.perf_counter()
        if args.methods:
            timed = {name: timed[name] for name in args.methods}
        readers = evaluation.READERS
        if name != "adult":  # Of embeddings, others read more than trees.
            readers = [each for each in readers if each != "trees"]
        report = evaluation.leakage(
            timed,
            **data,
            readers=["linear", "svm"] if args.quick else readers,
            splits=1 if args.quick else args.splits,
            controls=["soft quadratic"] if k == 2 and not args.methods else [],
            verbose=0,
        )
        figures[name] = report.to_dict()
        first = report.rows[0]
        tables.append(
            f"{title} ({len(data['x']):,} rows, {data['x'].shape[1]} features; "
            f"majority rate {first.majority_rate:.3f}; {first.n:,} rows "
            f"judged)\n\n{table(report, timed)}\n\n{budgets(report)}"
        )
        took = time.perf_counter() - start
        sys.stderr.write(f"{name} done in {took:.0f} s\n{tables[-1]}\n")
    if not args.only or "speed" in args.only:
        timed = speed(*((500, 8) if args.quick else ()))
        figures["speed"] = timed
        tables.append(
            "Soft quadratic, 50,000 rows of 384, two classes: fitted in "
            f"{timed['fit_seconds']:.1f} s; "
            f"{timed['apply_rows_per_second']:,.0f} rows/s erased, "
            f"{timed['products_rows_per_second']:,.0f} by its matrix products "
            "alone"
        )
    common.report("Leakage", "\n\n".join(tables), figures, args.json)


if __name__ == "__main__":
    main()
