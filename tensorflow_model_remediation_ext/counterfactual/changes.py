"""What a pair changes in a text, and whether its grammar looks broken."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.common.changed_words import (
    JOINT,
    changed_words,
    strings_beside,
)
from tensorflow_model_remediation_ext.counterfactual.swaps import english_rules


class Change:
    """The change of one pair.

    Args:
        originals: The strings of the text; more than one where an example has
            several, of which those that stay as they are do not count.
        counterfactuals: What they become.
        known: A pattern of the terms. Those that stood next to one another
            and are gone count one by one.

    Attributes:
        words: What words become, as "he -> she".
        marked: The original with that marked, as "[he -> she] ran".
        edited: What it becomes.
        faults: How the grammar of it looks broken.
    """

    def __init__(
        self,
        originals: Sequence[str],
        counterfactuals: Sequence[str],
        known: re.Pattern[str],
    ):
        beside = strings_beside(originals, counterfactuals)
        changed = [(a, b) for a, b in beside if a != b]
        found = [_changes(a, b, known) for a, b in changed]
        self.words = [change for some, _ in found for change in some]
        self.marked = JOINT.join(marked for _, marked in found)
        self.edited = JOINT.join(edited for _, edited in changed)
        self.faults = _faults(changed)


def _changes(original, edited, known):
    """Returns what words become, and the original with that marked."""
    changes, marked, at = [], "", 0
    for begin, end, first, last in _places(original, edited, known):
        before, after = original[begin:end], edited[first:last]
        marked += f"{original[at:begin]}[{before} -> {after}]"
        at = end
        terms = [] if after else known.findall(before)
        changes += [
            characters.lower(f"{term} -> {after}") for term in terms or [before]
        ]
    return changes, marked + original[at:]


def _places(original, edited, known):
    """Returns where texts differ: by words, or by the terms they are of."""
    terms = [match.span() for match in known.finditer(original)]
    places: list[tuple[int, int, int, int]] = []
    for before, after in changed_words(original, edited):
        for begin, end, first, last in _one_by_one(
            original, edited, before, after
        ):
            for start, stop in terms:
                if max(start, begin) < min(stop, end) or (
                    begin == end and start <= begin <= stop
                ):
                    # Around what differs, the two texts are the same.
                    first -= max(0, begin - start)
                    last += max(0, stop - end)
                    begin, end = min(begin, start), max(end, stop)
            # Two that reached for the same term are one.
            if places and begin < places[-1][1]:
                begin, _, first, _ = places.pop()
            places.append((begin, end, first, last))
    return places


def _one_by_one(original, edited, before, after):
    """Yields the places of words, if as many stand for as many."""
    pairs = [
        [m.span() for m in re.compile(r"\S+").finditer(text, s.start, s.stop)]
        for text, s in ((original, before), (edited, after))
    ]
    if len(pairs[0]) != len(pairs[1]):
        pairs = [[(s.start, s.stop)] for s in (before, after)]
    for one, other in zip(*pairs, strict=True):
        yield *one, *other


@functools.cache
def _broken():
    """Returns patterns of broken grammar, by what to call it."""
    word = characters.word_class()
    begin, end = f"(?<!{word})", f"(?!{word})"
    patterns = {
        "a space before a comma or a stop": rf"{word} [,.;!?](?:\s|$)",
        "an article before nothing": (
            rf"{begin}(?i:an?|the)(?:\s*$|\s*[,.;!?])"
        ),
        "a doubled word": (rf"{begin}(?i:(the|an?|of|to|is|and|or) \1){end}"),
        "a doubled space": r"\S  \S",
        "a comma after nothing": r"^\s*[,;]",
    }
    return {how: re.compile(pattern) for how, pattern in patterns.items()}


@functools.cache
def _articles():
    return re.compile(rf"(?<!{characters.word_class()})([Aa]n?) (?=\w)")


def _faults(changed):
    """Returns how the grammar of edited strings looks broken."""
    faults = [
        how
        for how, pattern in _broken().items()
        if any(
            len(pattern.findall(edited)) > len(pattern.findall(original))
            for original, edited in changed
        )
    ]
    if any(_disagreeing(b) > _disagreeing(a) for a, b in changed):
        faults.append('"a" where "an" is said, or the reverse')
    return faults


def _disagreeing(text):
    return sum(
        _article(text[match.end() :]) != match[1].lower()
        for match in _articles().finditer(text)
    )


def _article(following):
    for pattern, article in english_rules.ARTICLES:
        if re.match(pattern, following):
            return article
    return "a"
