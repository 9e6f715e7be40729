"""Characters as Python's regular expressions see them, written for RE2."""

import functools
import itertools
import re
import sys


def is_word(char):
    r"""Returns whether `\w` matches a character."""
    return char.isalnum() or char == "_"


def escape(chars):
    """Returns characters as members of a class of RE2."""
    return "".join(f"\\x{{{ord(c):x}}}" for c in chars)


@functools.cache
def _words():
    chars = "".join(map(chr, range(sys.maxunicode + 1)))
    return [(w[0][0], w[0][-1]) for w in re.finditer(r"\w+", chars)]


@functools.cache
def word_class():
    r"""Returns the members of Python's `\w`, as RE2 writes them."""
    return "".join(f"{escape(a)}-{escape(b)}" for a, b in _words())


def symbol_class(without):
    """Returns non-ASCII non-word characters, in their larger blocks only.

    All of them would be a class that takes RE2 long to compile.

    Args:
        without: Characters in whose blocks to include nothing.
    """
    blocks = [
        (chr(ord(a) + 1), chr(ord(b) - 1))
        for (_, a), (b, _) in itertools.pairwise(_words())
        if a > "\x7f" and ord(b) - ord(a) > 64
    ]
    return "".join(
        f"{escape(a)}-{escape(b)}"
        for a, b in blocks
        if not any(a <= char <= b for char in without)
    )


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
