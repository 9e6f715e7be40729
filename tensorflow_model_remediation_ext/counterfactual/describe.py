"""What pairs hold: what a reviewer needs to see before training."""

from __future__ import annotations

import collections
import dataclasses
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.common.elements import (
    check_dataset,
    unpack,
)
from tensorflow_model_remediation_ext.counterfactual import changes
from tensorflow_model_remediation_ext.counterfactual.keras.packed import (
    as_packed,
)
from tensorflow_model_remediation_ext.counterfactual.keras.pairs import (
    build_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.text_feature import (
    find_text,
)
from tensorflow_model_remediation_ext.counterfactual.label_terms import frame


@dataclasses.dataclass(frozen=True)
class DescribedChange:
    """Pairs that change the same words.

    Attributes:
        change: The words and what stands for them, "he -> she"; nothing after
            the arrow where they are removed.
        pairs: Number of pairs with this change.
        broken: Number of these whose grammar looks broken by it.
        examples: Some of these texts, the change marked as "[he -> she]".
    """

    change: str
    pairs: int
    broken: int
    examples: tuple[str, ...]


@dataclasses.dataclass(frozen=True, repr=False)
class PairsDescription:
    """What `describe_pairs` found; prints as a table with samples.

    Attributes:
        rows: A `DescribedChange` for each change, the frequent ones first.
        pairs: Number of pairs.
        without: Number of examples without a pair, `None` if not known.
        duplicates: Number of pairs that occur before in the same words.
        length_change: Mean, smallest and largest difference of the numbers of
            characters, counterfactual minus original.
        empty: Number of counterfactual texts with no word in them.
        faulty: Number of pairs whose grammar looks broken.
        broken: These pairs by how: their texts.
    """

    rows: tuple[DescribedChange, ...]
    pairs: int
    without: int | None
    duplicates: int
    length_change: tuple[float, int, int]
    empty: int
    faulty: int
    broken: dict[str, tuple[str, ...]]

    measures: ClassVar[str] = "What the pairs change, and how often."
    caveat: ClassVar[str] = (
        "What looks broken is found by a few rules of English. They do not "
        "see whether a text is true, likely or kind: read the samples."
    )

    def __getitem__(self, change: str) -> DescribedChange:
        for row in self.rows:
            if row.change == change:
                return row
        raise KeyError(change)

    @property
    def examples(self) -> list[dict[str, str]]:
        """Samples for a report: one of each change, then further ones."""
        most = max(len(row.examples) for row in self.rows)
        return [
            {"text": row.examples[k], "change": row.change}
            for k in range(most)
            for row in self.rows
            if k < len(row.examples)
        ]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns plain figures of all pairs, then by change; no texts."""
        everything = {
            "pairs": self.pairs,
            "broken": self.faulty,
            "repeated": self.duplicates,
            "left_empty": self.empty,
            "mean_length_change": self.length_change[0],
        }
        return {
            "all pairs": everything,
            **{
                row.change: {"pairs": row.pairs, "broken": row.broken}
                for row in self.rows
            },
        }

    def remarks(self) -> list[str]:
        """Returns how many pairs there are, in sentences for a report."""
        said = [f"there are {_counted(self.pairs, 'pair')}."]
        if self.without is not None:
            said[0] = (
                f"there are {_counted(self.pairs, 'pair')}, and "
                f"{_counted(self.without, 'example')} without one."
            )
        if self.faulty:
            said.append(
                f"the grammar of {self.faulty:,} counterfactual texts "
                f"({self.faulty / self.pairs:.1%}) looks broken."
            )
        return said

    def to_frame(self) -> Any:
        """Returns a pandas DataFrame, a line for each change.

        Raises:
            ImportError: If pandas is missing.
        """
        return frame(self.rows, "change")

    def __repr__(self) -> str:
        mean, least, most = self.length_change
        lines = [
            f"{self.pairs:,} pairs, {self.duplicates:,} of them repeated",
            f"length: {mean:+.1f} characters on average, {least:+d} to "
            f"{most:+d}; {self.empty:,} texts left empty",
        ]
        if self.without is not None:
            lines.insert(1, f"{self.without:,} examples without a pair")
        for how, texts in self.broken.items():
            lines.append(f"{len(texts):,} with {how}, such as {texts[0]!r}")
        for row in self.rows:
            lines.append(f"{row.change}: {row.pairs:,} pairs")
            lines += [f"    {text}" for text in row.examples]
        return "\n".join(lines)


def describe_pairs(
    dataset: tf.data.Dataset,
    sensitive_terms_to_remove: Iterable[str] | None = None,
    *,
    terms_to_replace: Mapping[str, str] | None = None,
    text_key: str | int | None = None,
    case_sensitive: bool = False,
    whole_words: bool | None = None,
    samples: int = 3,
    seed: int = 0,
) -> PairsDescription:
    """Describes pairs before a model is trained on them.

    Args:
        dataset: With terms, examples as `build_counterfactual_data` takes
            them. Without, pairs as it returns them.
        sensitive_terms_to_remove: As in `build_counterfactual_data`.
        terms_to_replace: As there.
        text_key: As there, for pairs too. An example whose text is several
            strings is one pair.
        case_sensitive: As there.
        whole_words: As there.
        samples: Number of examples to keep for each change.
        seed: Which ones: the same for the same seed and pairs.

    Returns:
        A `PairsDescription`. It holds texts of the data.

    Raises:
        TypeError: As `build_counterfactual_data`.
        ValueError: As there; no text is changed; `dataset` does not hold
            pairs and there are no terms, or is known to have no end; or
            `samples` is not a whole number.

    Examples:
        >>> data = tf.data.Dataset.from_tensor_slices(["a gay man", "a man"])
        >>> found = describe_pairs(data, ["gay"])
        >>> found.pairs, found.without, found.rows[0].examples
        (1, 1, ('a [gay -> ] man',))
    """
    check_dataset(dataset, "dataset")
    whole("samples", samples, 0)
    if isinstance(sensitive_terms_to_remove, Iterator):
        sensitive_terms_to_remove = [*sensitive_terms_to_remove]
    pairs, examples, terms = dataset, None, terms_to_replace
    if terms is None:
        terms = sensitive_terms_to_remove
    if terms is not None:
        pairs = build_counterfactual_data(
            dataset,
            sensitive_terms_to_remove,
            terms_to_replace=terms_to_replace,
            text_key=text_key,
            case_sensitive=case_sensitive,
            whole_words=whole_words,
        )
    elif not _holds_pairs(dataset.element_spec):
        raise ValueError(
            "Without terms, `dataset` must hold pairs: `(original_x, "
            "counterfactual_x)`, with a weight or without. Received: "
            f"{dataset.element_spec}"
        )
    if pairs.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`dataset` must come to an end: leave out `.repeat()`. Received: "
            "an endless dataset"
        )
    if terms is not None:
        key = find_text(unpack(dataset.element_spec)[0], text_key)
        examples = sum(
            len(_texts(unpack(element)[0], key)) for element in dataset
        )
    keys = [find_text(half, text_key) for half in pairs.element_spec[:2]]
    texts = [
        pair
        for element in pairs
        for pair in zip(*map(_texts, element[:2], keys), strict=True)
    ]
    if not texts:
        raise ValueError("No example holds a term, so there are no pairs.")
    known = characters.term_pattern(
        () if terms is None else terms,
        case_sensitive=case_sensitive,
        whole_words=whole_words,
    )
    return _describe(
        texts,
        examples,
        samples,
        random.Random(checked_seed("seed", seed)),
        known,
    )


def _holds_pairs(spec):
    """Returns whether elements may be pairs; packed ones are none."""
    if not isinstance(spec, tuple) or as_packed(spec) is not None:
        return False
    dtypes = [
        [getattr(each, "dtype", None) for each in tf.nest.flatten(half)]
        for half in spec[:2]
    ]
    return len(spec) in (2, 3) and dtypes[0] == dtypes[1]


def _counted(n, what):
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _describe(texts, examples, samples, generator, known):
    counts: collections.Counter[str] = collections.Counter()
    broken_by: collections.Counter[str] = collections.Counter()
    kept: dict[str, list[str]] = {}
    broken: dict[str, list[str]] = {}
    faulty = 0
    for originals, counterfactuals in texts:
        change = changes.Change(originals, counterfactuals, known)
        faulty += bool(change.faults)
        for fault in change.faults:
            broken.setdefault(fault, []).append(change.edited)
        for words in dict.fromkeys(change.words):
            counts[words] += 1
            broken_by[words] += bool(change.faults)
            # A fair sample of a stream (Vitter's algorithm R).
            some = kept.setdefault(words, [])
            if len(some) < samples:
                some.append(change.marked)
            elif samples:
                place = generator.randrange(counts[words])
                if place < samples:
                    some[place] = change.marked
    lengths = [sum(map(len, b)) - sum(map(len, a)) for a, b in texts]
    return PairsDescription(
        rows=tuple(
            DescribedChange(change, n, broken_by[change], tuple(kept[change]))
            for change, n in counts.most_common()
        ),
        pairs=len(texts),
        without=None if examples is None else examples - len(texts),
        duplicates=len(texts) - len(set(texts)),
        length_change=(sum(lengths) / len(lengths), min(lengths), max(lengths)),
        empty=sum(not re.search(r"\w", " ".join(b)) for _, b in texts),
        faulty=faulty,
        broken={how: tuple(some) for how, some in broken.items()},
    )


def _texts(x, key):
    """Returns the strings of the text of each example."""
    text = x if key is None else x[key]
    if isinstance(text, tf.RaggedTensor):
        rows = text.to_list()
    else:
        rows = text.numpy().tolist() if text.shape.rank else [text.numpy()]
    return [
        tuple(t.decode("utf-8", "replace") for t in tf.nest.flatten(row))
        for row in rows
    ]
