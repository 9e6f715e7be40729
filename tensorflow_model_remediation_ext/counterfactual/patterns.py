r"""Regular expressions of TensorFlow (RE2) that find terms.

RE2 has no lookaround, knows word boundaries between ASCII characters only, and
may fold case by the tables of another Unicode version. So the cases of each
character are written out. Boundaries are asserted in two ways:

* The filters assert them where both sides are ASCII. Wherever a term stands,
  they match. Where they match, one stands unless a word character that is not
  ASCII stands next to it.
* The marker reads coded texts, which hold no underscore, after `JOINED` has
  put one on both sides of each run of the word characters that are not ASCII.
  RE2 takes an underscore for a part of words, so that it knows all boundaries,
  and the marker finds exactly the terms.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.counterfactual import marks

# What `wide_runs` finds becomes this.
JOINED = r"_\0_"
# Characters of words in ASCII, others of words, those of none; and what stands
# between words and one of them at the edge of a term.
_PLAIN, _WIDE, _OTHER = "plain", "wide", "other"
_BEFORE = {_PLAIN: r"\b", _WIDE: r"\b_", _OTHER: r"\B"}
_AFTER = {_PLAIN: r"\b", _WIDE: r"_\b", _OTHER: r"\B"}
# RE2 falls back to a slow matcher, and says so for each text, where the
# automaton of a pattern takes too much memory. So patterns are kept small. Of
# whole words there is room for more, as few can begin at the same place.
_MOST_BYTES, _MOST_OF_WORDS = 3000, 12_000
_PREFIX = 16
# With more patterns than this, looking for terms directly is faster.
_MOST_PATTERNS = 8


def filters(
    terms: Sequence[str], variants: Mapping[str, str], anywhere: Sequence[bool]
) -> list[str]:
    """Returns patterns, one of which matches each text that holds a term.

    Args:
        terms: The terms.
        variants: A dict from each of their characters to all that match it.
        anywhere: Whether each term matches inside words.

    Returns:
        Patterns of the whole text. None if there are too many terms for them.
    """
    groups: list[list[str]] = []
    room = 0
    for term, inside in _sorted(terms, variants, anywhere):
        room -= _size(term[:_PREFIX], variants)
        if room < 0:
            groups.append([])
            room = _MOST_BYTES
        groups[-1].append(_beginning(term, variants, inside))
    if len(groups) > _MOST_PATTERNS:
        return []
    return [rf"\C*(?:{'|'.join(dict.fromkeys(g))})\C*" for g in groups]


@functools.cache
def wide_runs() -> str:
    """Returns a pattern of runs of word characters that are not ASCII.

    What stands in a coded text for an underscore is one of them.
    """
    bounds = [c for c in characters.word_ranges() if c > 127]
    ranges = "".join(
        f"\\x{{{first:x}}}-\\x{{{end - 1:x}}}"
        for first, end in zip(bounds[::2], bounds[1::2], strict=True)
    )
    return f"(?:[{ranges}]|{marks.UNDERSCORE})+"


def marker(
    terms: Sequence[str], variants: Mapping[str, str], anywhere: Sequence[bool]
) -> str | None:
    """Returns a pattern of the terms, the longest first, in joined texts.

    Args:
        terms: The terms.
        variants: A dict from each of their characters to all that match it.
        anywhere: Whether each term matches inside words.

    Returns:
        The pattern. `None` if there are too many terms for one.
    """
    most = _MOST_BYTES if any(anywhere) else _MOST_OF_WORDS
    if sum(_size(term, variants) for term in terms) > most:
        return None
    # Terms that can match at the same place are prefixes of one another, so
    # this order puts the longer ones first.
    pairs = reversed(_sorted(terms, variants, anywhere))
    return "|".join(_in_joined(t, variants, inside) for t, inside in pairs)


def _in_joined(term, variants, anywhere):
    """Returns the pattern of a term in a joined text."""
    every = [_kinds(variants[char]) for char in term]
    last = len(every) - 1
    pattern = ""
    for i, kinds in enumerate(every):
        if i:
            pattern += _joint(every[i - 1], kinds)
        first, final = (i == at and not anywhere for at in (0, last))
        pattern += _one_of(
            _BEFORE[kind] * first + char + _AFTER[kind] * final
            for kind, char in kinds.items()
        )
    return pattern


def _kinds(chars):
    """Returns a class of the characters of each kind."""
    kinds: dict[str, str] = {}
    for char in chars:
        kind = _OTHER
        if characters.is_word(char):
            kind = _PLAIN if char.isascii() and char != "_" else _WIDE
        kinds[kind] = kinds.get(kind, "") + char
    return {kind: _class(some) for kind, some in kinds.items()}


def _class(chars):
    if chars == "_":
        return marks.UNDERSCORE
    return f"[{characters.escape(chars)}]"


def _joint(before, after):
    """Returns what stands between two characters of these kinds."""
    borders = [(a == _WIDE) != (b == _WIDE) for a in before for b in after]
    if all(borders):
        return "_"
    return "_?" if any(borders) else ""


def _one_of(patterns):
    first, *others = patterns
    return f"(?:{'|'.join([first, *others])})" if others else first


def _sorted(terms, variants, anywhere):
    # Common prefixes stand together, which makes small automata.
    return sorted(
        zip(terms, anywhere, strict=True),
        key=lambda pair: characters.fold(pair[0], variants),
    )


def _size(term, variants):
    return len("".join(variants[char] for char in term).encode())


def _beginning(term, variants, anywhere):
    """Returns the pattern of the beginning of a term in any text."""
    last = len(term) - 1
    return "".join(
        _with_edges(
            variants[c], not anywhere and i == 0, not anywhere and i == last
        )
        for i, c in enumerate(term[:_PREFIX])
    )


def _with_edges(chars, first, last):
    plain = "".join(c for c in chars if c.isascii())
    other = "".join(c for c in chars if not c.isascii())
    if not plain or not (first or last):
        return f"[{characters.escape(chars)}]"
    edge = r"\b" if characters.is_word(plain[0]) else r"\B"
    pattern = edge * first + f"[{characters.escape(plain)}]" + edge * last
    return f"(?:{pattern}|[{characters.escape(other)}])" if other else pattern
