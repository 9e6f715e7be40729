"""Where texts differ, word by word."""

import random

import pytest

from tensorflow_model_remediation_ext.common import characters
from tensorflow_model_remediation_ext.common.changed_words import changed_words

WORDS = ["he", "she", "a", ",", "man", "女", "男", "nin\u0303o", "हिंदु", "\n"]


def words(text):
    return characters.words().findall(text)


def test_one_text_becomes_the_other():
    chance = random.Random(0)
    for _ in range(300):
        one, other = (
            " ".join(chance.choices(WORDS, k=chance.randrange(9)))
            for _ in range(2)
        )
        pieces, at = [], 0
        for before, after in changed_words(one, other):
            # In order, apart from one another, and whole words.
            assert at <= before.start <= before.stop
            assert one[before] == one[before].strip()
            assert words(one[before]) != words(other[after])
            pieces += [one[at : before.start], other[after]]
            at = before.stop
        pieces.append(one[at:])
        assert words(" ".join(pieces)) == words(other)
        assert bool(changed_words(one, other)) == (words(one) != words(other))


@pytest.mark.parametrize(
    ("one", "other", "changed"),
    [
        ("he and she", "she and he", [("he", "she"), ("she", "he")]),
        ("a gay man", "a man", [("gay", "")]),
        ("a man", "a gay man", [("", "gay")]),
        ("man", "gay man", [("", "gay")]),
        ("gay b c d", "b c d x", [("gay", ""), ("", "x")]),
        ("", "", []),
    ],
)
def test_the_least_is_changed(one, other, changed):
    places = changed_words(one, other)
    assert [(one[a], other[b]) for a, b in places] == changed
