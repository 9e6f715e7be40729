r"""Characters as terms see them: words, cases, scripts.

The classes are those of the running Python, written down so that TensorFlow
can use them.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np

JOINERS = "\u200c\u200d"

# Where Unicode has characters: planes 4 to 13 are empty, 15 and 16 private.
# Letters with case are in planes 0 and 1, as 2 and 3 are for ideographs.
_CASED_PLANES = range(0x20000)
_PLANES = (range(0x40000), range(0xE0000, 0xF0000))

# Scripts that put no spaces between words: Unicode's Han, Hiragana and
# Katakana, with the marks that are written among them.
_UNSPACED = re.compile(
    "[\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b"
    "\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u32d0-\u32fe\u3300-\u3357\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufad9"
    "\uff66-\uff9f\U00016fe2-\U00016ff6\U0001aff0-\U0001b167"
    "\U0001f200\U00020000-\U0003fffd]"
)
# More of them, in which a word cannot be told by what stands next to it.
_NO_SPACES = re.compile(
    "[\u0e01-\u0e3a\u0e40-\u0e5b"  # Thai
    "\u0e81-\u0edf"  # Lao
    "\u1000-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff\u19e0-\u19ff]"  # Khmer
)
_UNCERTAIN = {
    "no spaces between words": _NO_SPACES,
    "prefixes or particles that are written as one with the word": re.compile(
        "[\u0590-\u05ff\ufb1d-\ufb4f"  # Hebrew
        "\u0620-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"
        "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7fb]"  # Korean
    ),
}


def is_word(char: str) -> bool:
    r"""Returns whether a character belongs to a word.

    Those are the characters of Python's `\w`, combining marks and the two
    joiners that hold a word or an emoji together.

    Args:
        char: One character.
    """
    return (
        char.isalnum()
        or char == "_"
        or char in JOINERS
        or unicodedata.category(char)[0] == "M"
    )


def is_unspaced(term: str) -> bool:
    """Returns whether a term's words are all of Han, Hiragana and Katakana.

    Args:
        term: A term.
    """
    words = [char for char in term if is_word(char)]
    return bool(words) and all(map(_UNSPACED.match, words))


def uncertain_scripts(terms: Iterable[str]) -> dict[str, list[str]]:
    """Returns the terms whose script hides where a word ends, by the reason.

    Args:
        terms: Terms.
    """
    found = {
        reason: [term for term in terms if pattern.search(term)]
        for reason, pattern in _UNCERTAIN.items()
    }
    return {reason: some for reason, some in found.items() if some}


def escape(chars: str) -> str:
    """Returns characters as members of a class of RE2.

    Args:
        chars: The characters.
    """
    return "".join(f"\\x{{{ord(c):x}}}" for c in chars)


@functools.cache
def _cased():
    chars = map(chr, _CASED_PLANES)
    return "".join(c for c in chars if c.lower() != c or c.upper() != c)


def variants_of(terms: Iterable[str], case_sensitive: bool) -> dict[str, str]:
    """Maps each character of the terms to all that match it.

    Args:
        terms: The terms.
        case_sensitive: Whether each matches itself alone.
    """
    chars = sorted(set("".join(terms)))
    if case_sensitive:
        return {c: c for c in chars}
    return {
        c: "".join(re.findall(re.escape(c), _cased(), re.IGNORECASE)) or c
        for c in chars
    }


def fold(term: str, variants: Mapping[str, str]) -> str:
    """Returns the one spelling of a term that stands for all its cases.

    Args:
        term: A term.
        variants: A dict from its characters to all that match them.
    """
    return "".join(representative(variants[c]) for c in term)


def representative(chars: str) -> str:
    """Returns the one of the cases of a character that stands for all.

    Args:
        chars: Its cases.
    """
    return min((c.lower() for c in chars if c.isascii()), default=min(chars))


def lower(text: str) -> str:
    """Returns text in lower case, each character as one.

    `str.lower` makes two of a capital dotted I, of which a regular expression
    that ignores case takes the plain i for the same letter.
    """
    dotted = "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}"
    return text.replace(dotted, "i").lower()


@functools.cache
def word_ranges() -> np.ndarray:
    """Returns where runs of word characters begin and end.

    Returns:
        int32, ascending: a code point belongs to a word if an odd number of
        these is at most as large.
    """
    ends = []
    for plane in _PLANES:
        flags = np.fromiter(map(is_word, map(chr, plane)), np.int8, len(plane))
        found = np.flatnonzero(np.diff(flags, prepend=0, append=0))
        ends.append(found + plane.start)
    return np.concatenate(ends).astype(np.int32)


@functools.cache
def words() -> re.Pattern:
    """Returns a pattern that finds words, and other signs one by one.

    In a script without spaces between words, every character is one.
    """
    alone = f"{_UNSPACED.pattern}|{_NO_SPACES.pattern}"
    return re.compile(rf"{alone}|(?:(?!{alone}){word_class()})+|\S")


def term_pattern(
    terms: Iterable[str],
    *,
    case_sensitive: bool = False,
    whole_words: bool | None = None,
) -> re.Pattern[str]:
    """Returns a pattern that finds terms, the longer ones first.

    Args:
        terms: The terms; of none, the pattern finds nothing.
        case_sensitive: Whether their case must match.
        whole_words: Whether terms are found as whole words only, or anywhere.
            By default, anywhere if they are `is_unspaced`.
    """
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for term in sorted(terms, key=len, reverse=True):
        as_word = not is_unspaced(term) if whole_words is None else whole_words
        kinds[bool(as_word)].append(re.escape(term))
    whole, anywhere = ("|".join(kinds[key]) or "(?!)" for key in kinds)
    case = "" if case_sensitive else "i"
    # One assertion for all words: each is thousands of characters long.
    before, after = f"(?<!{word_class()})", f"(?!{word_class()})"
    return re.compile(f"{before}(?{case}:{whole}){after}|(?{case}:{anywhere})")


@functools.cache
def word_class() -> str:
    """Returns a class of the characters of words."""
    ranges = [f"\\U{c:08x}" for c in word_ranges()]
    last = [f"\\U{c - 1:08x}" for c in word_ranges()]
    return (
        f"[{''.join(map('-'.join, zip(ranges[::2], last[1::2], strict=True)))}]"
    )
