"""Where two texts differ, word by word."""

import difflib
from collections.abc import Sequence

from tensorflow_model_remediation_ext.common import characters

JOINT = " | "  # Between the strings of one example, where they are shown.


def strings_beside(
    originals: Sequence[str], counterfactuals: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns the strings of an example, each beside what it becomes.

    Where they are not as many, all of them count as one.
    """
    if len(originals) != len(counterfactuals):
        return [(" ".join(originals), " ".join(counterfactuals))]
    return list(zip(originals, counterfactuals, strict=True))


def changed_words(one: str, other: str) -> list[tuple[slice, slice]]:
    """Returns the places of the words by which two texts differ.

    Args:
        one: A text.
        other: Another text.

    Returns:
        In their order, the characters of `one`, and those of `other` in their
        place. Where words were only added or left out, one of them is empty,
        at the end of the word before.
    """
    texts = one, other
    spans = [
        [match.span() for match in characters.words().finditer(text)]
        for text in texts
    ]
    words = [
        [text[begin:end] for begin, end in found]
        for text, found in zip(texts, spans, strict=True)
    ]
    # Nearly all of a pair is the same: only what is between is compared.
    start = 0
    shortest = min(map(len, words))
    while start < shortest and words[0][start] == words[1][start]:
        start += 1
    end = 0
    while end < shortest - start and words[0][-1 - end] == words[1][-1 - end]:
        end += 1
    between = [some[start : len(some) - end] for some in words]
    return [
        (
            _extent(spans[0], start + a, start + b),
            _extent(spans[1], start + c, start + d),
        )
        for a, b, c, d in _differences(*between)
    ]


def _differences(one, other):
    """Returns from where to where lists differ, in both."""
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    found = [
        places for kind, *places in matcher.get_opcodes() if kind != "equal"
    ]
    if len(one) != len(other):
        return found
    # Of a swap, words that were exchanged are no words that were moved.
    swapped: list[list[int]] = []
    for at, (a, b) in enumerate(zip(one, other, strict=True)):
        if a != b and swapped and swapped[-1][1] == at:
            swapped[-1][1::2] = at + 1, at + 1
        elif a != b:
            swapped.append([at, at + 1, at, at + 1])
    return min(swapped, found, key=_words_in)


def _words_in(differences):
    return sum(max(b - a, d - c) for a, b, c, d in differences)


def _extent(spans, first, last):
    """Returns from where to where words reach."""
    before = spans[first - 1][1] if first else 0
    if first == last:
        return slice(before, before)
    return slice(spans[first][0], spans[last - 1][1])
