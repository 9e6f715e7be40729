"""Characters as Python's regular expressions see them, written for RE2."""

import functools
import re
import sys


def is_word(char):
    r"""Returns whether `\w` matches a character."""
    return char.isalnum() or char == "_"


def escape(chars):
    """Returns characters as members of a class of RE2."""
    return "".join(f"\\x{{{ord(c):x}}}" for c in chars)


@functools.cache
def word_class(first="\x00"):
    r"""The members of Python's `\w` from `first` on, as RE2 writes them."""
    chars = "".join(map(chr, range(ord(first), sys.maxunicode + 1)))
    words = re.finditer(r"\w+", chars)
    return "".join(f"{escape(w[0][0])}-{escape(w[0][-1])}" for w in words)


@functools.cache
def _cased():
    chars = map(chr, range(sys.maxunicode + 1))
    return "".join(c for c in chars if c.lower() != c or c.upper() != c)


def variants_of(terms, case_sensitive):
    """Maps each character of the terms to all that match it."""
    chars = sorted(set("".join(terms)))
    if case_sensitive:
        return {c: c for c in chars}
    return {
        c: "".join(re.findall(re.escape(c), _cased(), re.IGNORECASE)) or c
        for c in chars
    }


def fold(term, variants):
    """Returns the one spelling of a term that stands for all its cases."""
    return "".join(representative(variants[c]) for c in term)


def representative(chars):
    """Returns the one of the cases of a character that stands for all."""
    return min((c.lower() for c in chars if c.isascii()), default=min(chars))
