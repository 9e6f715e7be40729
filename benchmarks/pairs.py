"""Rows per second and exactness of building counterfactual pairs.

Run as `python -m benchmarks.pairs` or `python benchmarks/pairs.py`, with the
package installed. A file of other texts (a CSV with a column `text`) can be
given; the terms are those of `identity_terms.txt` beside it.
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
from tensorflow_model_remediation_ext.counterfactual.keras import (
    utils,
)

# Rows come in batches of this size, or one by one and are counted in these.
BATCH = 512

PEER = """
import json, sys, time
import tensorflow as tf
from tensorflow_model_remediation import counterfactual

arguments = json.load(sys.stdin)
texts, terms = arguments["texts"], arguments["terms"]
data = tf.data.Dataset.from_tensor_slices((texts, [0] * len(texts)))
pairs = counterfactual.keras.utils.build_counterfactual_data(data, terms)
times = []
for _ in range(arguments["repeats"] + 1):
    start = time.perf_counter()
    for batch in pairs.batch(arguments["batch"]):
        pass
    times.append(time.perf_counter() - start)
found = list(pairs.as_numpy_iterator())
print(json.dumps({
    "seconds": min(times[1:]),
    "pairs": len(found),
    "unchanged": sum(a == b for a, b, _ in found),
    "originals": [a.decode() for a, b, _ in found if a != b],
}))
"""

# Maps English to letters none of which is ASCII, one to one.
CYRILLIC = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "абцдефгхийклмнопярстувшхызАБЦДЕФГХИЙКЛМНОПЯРСТУВШХЫЗ",
)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    terms = path.with_name("identity_terms.txt").read_text("utf-8")
    return texts, [t.strip() for t in terms.splitlines() if t.strip()]


def matching(texts, terms):
    """Returns the rows with a term, as Python's own `re` sees it."""
    longest_first = sorted(terms, key=len, reverse=True)
    pattern = re.compile(
        rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)",
        re.IGNORECASE,
    )
    return [text for text in texts if pattern.search(text)]


def speed(texts, batched, repeats, **arguments):
    """Returns rows per second from the source to the last pair."""
    data = tf.data.Dataset.from_tensor_slices((texts, [0] * len(texts)))
    if batched:
        data = data.batch(BATCH)
    pairs = utils.build_counterfactual_data(data, **arguments)
    if not batched:
        pairs = pairs.batch(BATCH)

    def run():
        for _ in pairs:
            pass

    return len(texts) / common.seconds(run, repeats)


def exactness(texts, terms):
    data = tf.data.Dataset.from_tensor_slices(texts)
    pairs = utils.build_counterfactual_data(data, terms)
    found = list(pairs.as_numpy_iterator())
    originals = [original.decode() for original, _, _ in found]
    expected = matching(texts, terms)
    return {
        "pairs": len(found),
        "unchanged": sum(a == b for a, b, _ in found),
        "missed": missed(expected, originals),
        "wrong": missed(originals, expected),
    }


def missed(expected, found):
    """Returns how many of the rows expected, with repeats, were not found."""
    left = {}
    for text in found:
        left[text] = left.get(text, 0) + 1
    count = 0
    for text in expected:
        if left.get(text, 0):
            left[text] -= 1
        else:
            count += 1
    return count


def peer(texts, terms, repeats, python):
    """Returns the peer's speed and exactness."""
    found = common.run_peer(
        common.peer_python("tfmr", common.TFMR, python),
        PEER,
        texts=texts,
        terms=terms,
        repeats=repeats,
        batch=BATCH,
    )
    expected = matching(texts, terms)
    return {
        "peer_remove": len(texts) / found["seconds"],
        "peer_exactness": {
            "pairs": found["pairs"],
            "unchanged": found["unchanged"],
            "missed": missed(expected, found["originals"]),
            "wrong": missed(found["originals"], expected),
        },
    }


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument(
        "csv", type=Path, nargs="?", default=common.TWEETS, help="the texts"
    )
    parser.add_argument(
        "--peer-python",
        help="Python of an environment with tensorflow_model_remediation; "
        "by default one is made under .benchmarks/",
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
        data, terms = common.embedded()
        texts = data.texts.tolist()
    else:
        texts, terms = read(options.csv)
    swaps = list(zip(terms[:50:2], terms[1:50:2], strict=True))
    swaps = dict([*swaps, *((b, a) for a, b in swaps)])
    cyrillic = [text.translate(CYRILLIC) for text in texts]
    cyrillic_terms = [term.translate(CYRILLIC) for term in terms]

    repeats = options.repeats
    remove = {"sensitive_terms_to_remove": terms}
    swap = {"terms_to_replace": swaps}
    other = {"sensitive_terms_to_remove": cyrillic_terms}
    figures = {
        "rows": len(texts),
        "remove": speed(texts, False, repeats, **remove),
        "remove_batched": speed(texts, True, repeats, **remove),
        "swap": speed(texts, False, repeats, **swap),
        "swap_batched": speed(texts, True, repeats, **swap),
        "cyrillic": speed(cyrillic, False, repeats, **other),
        "cyrillic_batched": speed(cyrillic, True, repeats, **other),
        "exactness": exactness(texts, terms),
        "cyrillic_exactness": exactness(cyrillic, cyrillic_terms),
    }
    if not options.quick:
        figures |= peer(texts, terms, repeats, options.peer_python)
        for key in ("remove", "remove_batched"):
            figures[f"{key}_ratio"] = figures[key] / figures["peer_remove"]
    common.report(
        "Counterfactual pairs",
        table(figures, len(terms)),
        figures,
        options.json,
    )
    return figures


def table(figures, number_of_terms):
    def row(name, exact, *speeds):
        return (
            name,
            *(f"{s:,.0f}" if s else "-" for s in speeds),
            *(exact.values() if exact else ["-"] * 4),
        )

    f = figures
    rows = [
        row(
            f"removal of {number_of_terms} terms",
            f["exactness"],
            f["remove"],
            f["remove_batched"],
        ),
        row("swap of 25 pairs of terms", None, f["swap"], f["swap_batched"]),
        row(
            "removal, no ASCII letter (worst case)",
            f["cyrillic_exactness"],
            f["cyrillic"],
            f["cyrillic_batched"],
        ),
    ]
    if "peer_remove" in f:
        rows.append(
            row(
                "tensorflow_model_remediation 0.1.7.1, removal",
                f["peer_exactness"],
                f["peer_remove"],
                None,
            )
        )
    return common.markdown(
        [
            f"{f['rows']:,} rows",
            "rows/s, one by one",
            f"rows/s, batches of {BATCH}",
            "pairs",
            "unchanged pairs",
            "missed rows",
            "rows without a term",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
