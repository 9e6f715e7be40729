"""Swaps of terms that know their language: data files, and a user's own."""

from __future__ import annotations

import csv
import importlib.resources
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import marks
from tensorflow_model_remediation_ext.counterfactual.replacements import (
    APART,
    Replacements,
)
from tensorflow_model_remediation_ext.counterfactual.swaps.english import (
    English,
)
from tensorflow_model_remediation_ext.counterfactual.swaps.tagger import Tagger

_DATA = "tensorflow_model_remediation_ext.counterfactual.swaps.data"
_KEYS = {
    "name",
    "language",
    "source",
    "license",
    "note",
    "swaps",
    "one_way",
    "before_noun",
}


class Swaps(Mapping[str, str]):
    """Terms and what stands for them, with the grammar of a language.

    A read-only dict from terms to replacements. Pass it as `terms_to_replace`
    to replace the terms, or as `sensitive_terms_to_remove` to remove them.
    In English, "her" becomes "his" or "him" by what follows, "a" and "an" are
    made to agree with the word after them, and a removed term takes a comma
    that would be left over with it. These are rules, not an understanding:
    look at the pairs (`counterfactual.describe_pairs`).

    Args:
        terms: A dict from terms to replacements.
        language: "en" for the grammar of English, or a code such as "en-US".
            Any other changes nothing but the terms.
        before_noun: A dict from terms whose replacement depends on what
            follows to the two forms: before a noun, and otherwise. They need
            not be in `terms`. English only.
        name: What to call them.
        source: Where they come from.
        license: The license of the list.
        note: What to know before using them.

    Raises:
        TypeError: `terms` is not a dict of strings, `before_noun` not one
            of pairs of strings, or `language` not a string.
        ValueError: There are no terms; `before_noun` is given in another
            language than English, or gives another form before a noun than
            `terms`.

    Examples:
        >>> data = tf.data.Dataset.from_tensor_slices(["Not an actor"])
        >>> pairs = build_counterfactual_data(
        ...     data, terms_to_replace=Swaps({"actor": "plumber"})
        ... )
        >>> [counterfactual.numpy() for _, counterfactual, _ in pairs]
        [b'Not a plumber']
    """

    def __init__(
        self,
        terms: Mapping[str, str],
        *,
        language: str = "en",
        before_noun: Mapping[str, tuple[str, str]] | None = None,
        name: str = "swaps",
        source: str = "",
        license: str = "",
        note: str = "",
    ):
        if not isinstance(terms, Mapping) or not all(
            isinstance(text, str) for pair in terms.items() for text in pair
        ):
            raise TypeError(
                "`terms` must be a dict from terms to replacements. "
                f"Received: terms={terms!r}"
            )
        before_noun = {} if before_noun is None else before_noun
        if not isinstance(before_noun, Mapping) or not all(
            isinstance(term, str) and _is_pair(forms) and all(forms)
            for term, forms in before_noun.items()
        ):
            raise TypeError(
                "`before_noun` must be a dict from terms to two texts, such as "
                "{'her': ('his', 'him')}. "
                f"Received: before_noun={before_noun!r}"
            )
        if not isinstance(language, str):
            raise TypeError(
                "`language` must be a code such as 'en'. "
                f"Received: language={language!r}"
            )
        self._english = re.split("[-_]", language.lower())[0] == "en"
        if before_noun and not self._english:
            raise ValueError(
                "`before_noun` is for English. Received: "
                f"language={language!r}, before_noun={before_noun}"
            )
        self._terms = dict(terms)
        self._before_noun = {
            term: (noun, other) for term, (noun, other) in before_noun.items()
        }
        for term, (noun, _) in self._before_noun.items():
            if self._terms.setdefault(term, noun) != noun:
                raise ValueError(
                    "`before_noun` must give the replacement of `terms` for "
                    f"before a noun. Received: {term!r} to {noun!r} and to "
                    f"{self._terms[term]!r}"
                )
        if not self._terms:
            raise ValueError("`terms` must hold at least one term.")
        self.language = language
        self.name = name
        self.source = source
        self.license = license
        self.note = note
        self._tagger: Tagger | None = None

    def __getitem__(self, term: str) -> str:
        return self._terms[term]

    def __iter__(self) -> Iterator[str]:
        return iter(self._terms)

    def __len__(self) -> int:
        return len(self._terms)

    def __repr__(self) -> str:
        lines = [f"{self.name} ({self.language}), {len(self)} terms"]
        lines += [text for text in (self.note, self.source) if text]
        if self.license:
            lines.append(f"License: {self.license}")
        for term, replacement in self.items():
            if term in self._before_noun:
                noun, other = self._before_noun[term]
                replacement = f"{noun} (before a noun) or {other}"
            lines.append(f"  {term} -> {replacement}")
        return "\n".join(lines)

    def extend(self, terms: Mapping[str, str]) -> Swaps:
        """Returns swaps with more terms, or other replacements for some.

        Args:
            terms: A dict from terms to replacements, or `Swaps`.

        Raises:
            TypeError: If it is no dict.
        """
        if not isinstance(terms, Mapping):
            raise TypeError(
                "`terms` must be a dict from terms to replacements. "
                f"Received: terms={terms!r}"
            )
        before_noun = {
            k: v for k, v in self._before_noun.items() if k not in terms
        }
        if isinstance(terms, Swaps):
            before_noun |= terms._before_noun
        return self._like({**self._terms, **terms}, before_noun)

    def without(self, terms: Iterable[str]) -> Swaps:
        """Returns swaps without some terms.

        Args:
            terms: The terms to leave out. What they are swapped for stays.

        Raises:
            TypeError: If they are no collection, or one string.
            ValueError: If one of them is not there.
        """
        if isinstance(terms, (str, bytes)) or not isinstance(terms, Iterable):
            raise TypeError(
                f"`terms` must be a list of terms. Received: terms={terms!r}"
            )
        left_out = set(terms)
        if left_out - set(self):
            raise ValueError(
                "`terms` must be some of these swaps. Received: "
                f"{sorted(left_out - set(self), key=repr)}"
            )
        return self._like(
            {k: v for k, v in self._terms.items() if k not in left_out},
            {k: v for k, v in self._before_noun.items() if k not in left_out},
        )

    def with_tagger(
        self, pipeline: Callable[[str], Any] | None = None
    ) -> Swaps:
        """Returns swaps that ask a tagger about pronouns, not rules.

        Slower by far, and run in Python. The extra `language` installs spaCy,
        and `python -m spacy download en_core_web_sm` its small English model.

        Args:
            pipeline: A loaded spaCy pipeline that tags English; by default
                that model.

        Raises:
            ImportError: If `pipeline` is not given and one of them is missing.
        """
        result = self._like(self._terms, self._before_noun)
        result._tagger = Tagger(pipeline)
        return result

    def _like(self, terms, before_noun):
        result = Swaps(
            terms,
            language=self.language,
            before_noun=before_noun,
            name=self.name,
            source=self.source,
            license=self.license,
            note=self.note,
        )
        result._tagger = self._tagger
        return result

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes a file that `from_json` reads.

        Args:
            path: The file.
        """
        content = {
            "name": self.name,
            "language": self.language,
            "source": self.source,
            "license": self.license,
            "note": self.note,
            "one_way": [[a, b] for a, b in self._terms.items()],
            "before_noun": {k: list(v) for k, v in self._before_noun.items()},
        }
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        pathlib.Path(path).write_text(text, encoding="utf-8")

    def replacer(
        self, variants: Mapping[str, str], case_sensitive: bool
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function of marked texts that replaces the terms.

        Args:
            variants: A dict from each character of the terms to its cases.
            case_sensitive: Whether only the spellings given can match.
        """
        if not self._english:
            return Replacements(self._terms, variants, case_sensitive)
        grammar = English(self._before_noun, variants, self._tagger)
        # One table for both forms: a second lookup would be as many operations.
        others = {APART + k: v for k, (_, v) in self._before_noun.items()}
        replacements = Replacements(
            {**self._terms, **others},
            {**variants, APART: APART},
            case_sensitive,
        )

        def replace(marked):
            pieces = marks.pieces(marked)
            apart = grammar.apart_from_noun(pieces)
            found = pieces.found
            found = tf.tensor_scatter_nd_update(
                found,
                tf.expand_dims(apart, 1),
                tf.strings.join([APART, tf.gather(found, apart)]),
            )
            return grammar.put(pieces, replacements.values(found))

        return replace

    def remover(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function of marked texts that removes the terms."""
        if not self._english:
            return marks.remove
        return English({}, {}).remove


def names() -> list[str]:
    """Returns the names of the swaps that come with the package.

    Examples:
        >>> "gender_en" in names()
        True
    """
    files = importlib.resources.files(_DATA).iterdir()
    return sorted(
        file.name.removesuffix(".json")
        for file in files
        if file.name.endswith(".json")
    )


def load(name: str) -> Swaps:
    """Returns swaps that come with the package.

    Args:
        name: One of `names()`, such as "gender_en".

    Raises:
        ValueError: There are none of this name.

    Examples:
        >>> gender = load("gender_en")
        >>> gender["brother"], gender["mothers"]
        ('sister', 'fathers')
    """
    if name not in names():
        raise ValueError(
            f"`name` must be one of {names()}. Received: name={name!r}"
        )
    file = importlib.resources.files(_DATA) / f"{name}.json"
    return _read(json.loads(file.read_text(encoding="utf-8")), name)


def from_json(path: str | os.PathLike[str]) -> Swaps:
    """Returns swaps of a JSON file.

    The file holds an object. `"swaps"` is a list of pairs that are exchanged,
    `"one_way"` a list of terms with their replacements, `"before_noun"` an
    object from terms to their two forms. `"name"`, `"language"` ("en" by
    default), `"source"`, `"license"` and `"note"` are texts.

    Args:
        path: The file, in UTF-8.

    Raises:
        ValueError: If it does not hold that.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from error
    return _read(content, path.stem)


def from_csv(
    path: str | os.PathLike[str], *, language: str = "en", two_way: bool = False
) -> Swaps:
    """Returns swaps of a CSV file with the columns `term,replacement`.

    Args:
        path: The file, in UTF-8, with a header.
        language: As for `Swaps`.
        two_way: Whether each replacement is replaced by its term, too.

    Raises:
        ValueError: If the file is not CSV in UTF-8, does not have these
            columns and no others, or a term has two replacements.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            # Unless strict, a quote never closed silently swallows the rest.
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not CSV in UTF-8: {error}") from error
    header = rows.pop(0) if rows else []
    if [h.strip() for h in header] != ["term", "replacement"]:
        raise ValueError(
            f"{path} must begin with the line term,replacement. "
            f"Received: {header}"
        )
    for row in rows:
        if len(row) != 2 or not all(cell.strip() for cell in row):
            raise ValueError(
                f"{path} must give a term and a replacement in each line. "
                f"Received: {row}"
            )
    pairs = [(a.strip(), b.strip()) for a, b in rows]
    terms = _terms([] if not two_way else pairs, [] if two_way else pairs)
    return Swaps(terms, language=language, name=pathlib.Path(path).stem)


def _read(content: Any, name: str) -> Swaps:
    if not isinstance(content, dict) or not set(content) <= _KEYS:
        found = sorted(content) if isinstance(content, dict) else content
        raise ValueError(
            f"Swaps in JSON are an object with some of the keys "
            f"{sorted(_KEYS)}. Received: {found}"
        )
    lists = []
    for key in ("swaps", "one_way"):
        pairs = content.get(key, [])
        if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
            raise ValueError(f"`{key}` must be a list of pairs of texts.")
        lists.append([tuple(pair) for pair in pairs])
    before_noun = content.get("before_noun") or {}
    if not isinstance(before_noun, dict) or not all(
        map(_is_pair, before_noun.values())
    ):
        raise ValueError(
            "`before_noun` must be an object from terms to pairs of texts. "
            f"Received: {before_noun}"
        )
    return Swaps(
        _terms(*lists),
        language=content.get("language", "en"),
        before_noun=before_noun,
        name=content.get("name", name),
        source=content.get("source", ""),
        license=content.get("license", ""),
        note=content.get("note", ""),
    )


def _is_pair(value):
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(text, str) for text in value)
    )


def _terms(two_way, one_way):
    terms: dict[str, str] = {}
    pairs = [*two_way, *((b, a) for a, b in two_way), *one_way]
    for term, replacement in pairs:
        if terms.setdefault(term, replacement) != replacement:
            raise ValueError(
                f"A term must have one replacement. Received: {term!r} to "
                f"{terms[term]!r} and to {replacement!r}"
            )
    return terms
