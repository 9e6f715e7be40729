r"""Regular expressions of TensorFlow (RE2) that find terms, and maybe more.

RE2 has no lookaround, knows word boundaries between ASCII characters only, and
may fold case by the tables of another Unicode version. So the cases of each
character are written out, and boundaries are asserted where both sides are
ASCII. Wherever a term stands, these patterns match. Where they match, one
stands unless a word character that is not ASCII stands next to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorflow_model_remediation_ext.common import characters

# RE2 falls back to a slow matcher, and says so for each text, where the
# automaton of a pattern takes too much memory. So patterns are kept small.
_MOST_BYTES = 3000
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
        groups[-1].append(_pattern(term, variants, inside)[0])
    if len(groups) > _MOST_PATTERNS:
        return []
    return [rf"\C*(?:{'|'.join(dict.fromkeys(g))})\C*" for g in groups]


def marker(
    terms: Sequence[str], variants: Mapping[str, str], anywhere: Sequence[bool]
) -> str | None:
    """Returns a pattern of the terms, the longest first.

    Args:
        terms: The terms.
        variants: A dict from each of their characters to all that match it.
        anywhere: Whether each term matches inside words.

    Returns:
        The pattern. `None` if there are too many terms for one.
    """
    if sum(_size(term, variants) for term in terms) > _MOST_BYTES:
        return None
    # Terms that can match at the same place are prefixes of one another, so
    # this order puts the longer ones first.
    pairs = reversed(_sorted(terms, variants, anywhere))
    return "|".join(_pattern(t, variants, inside)[1] for t, inside in pairs)


def _sorted(terms, variants, anywhere):
    # Common prefixes stand together, which makes small automata.
    return sorted(
        zip(terms, anywhere, strict=True),
        key=lambda pair: characters.fold(pair[0], variants),
    )


def _size(term, variants):
    return len("".join(variants[char] for char in term).encode())


def _pattern(term, variants, anywhere):
    """Returns the patterns of the beginning of a term and of all of it."""
    last = len(term) - 1
    classes = [
        _class(variants[c], not anywhere and i == 0, not anywhere and i == last)
        for i, c in enumerate(term)
    ]
    return "".join(classes[:_PREFIX]), "".join(classes)


def _class(chars, first, last):
    plain = "".join(c for c in chars if c.isascii())
    other = "".join(c for c in chars if not c.isascii())
    if not plain or not (first or last):
        return f"[{characters.escape(chars)}]"
    edge = r"\b" if characters.is_word(plain[0]) else r"\B"
    pattern = edge * first + f"[{characters.escape(plain)}]" + edge * last
    return f"(?:{pattern}|[{characters.escape(other)}])" if other else pattern
