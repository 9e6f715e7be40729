"""Terms that Python finds are those that TensorFlow finds."""

import re
import sys
import time

import pytest

from tensorflow_model_remediation_ext.common.characters import (
    is_word,
    term_pattern,
    word_class,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor

TERMS = ["gay", "c++", "(wo)man", "ora", "मुसलमान", "女", "ゲイ男", "old gay"]
TEXTS = [
    "a gay man", "begayt", "GAY", "gay_x", "c++", "c++11", "ac++", "(wo)man",
    "x(wo)man", "señora", "sen\u0303ora", "n\u0303 ora", "मुसलमानों", "मुसलमान",
    "是女人", "ゲイ男性", "ゲイ女", "old gays", "old\ngay", "gay\u200d", "",
]  # fmt: skip


@pytest.mark.parametrize("case_sensitive", [False, True])
@pytest.mark.parametrize("whole_words", [None, True, False])
def test_both_find_the_same_terms(whole_words, case_sensitive):
    how = {"whole_words": whole_words, "case_sensitive": case_sensitive}
    for term in TERMS:
        pattern = term_pattern([term], **how)
        changed = (TermEditor([term], **how)(TEXTS) != TEXTS).numpy()
        assert [bool(pattern.search(text)) for text in TEXTS] == [*changed]
    both = term_pattern(["gay", "old gay"], **how)
    assert both.findall("an old gay gay") == ["old gay", "gay"]


def test_the_class_of_words_holds_those_of_every_plane():
    chars = "".join(map(chr, range(sys.maxunicode + 1)))
    assert re.findall(word_class(), chars) == [*filter(is_word, chars)]


def test_no_terms_and_many():
    assert not term_pattern([]).search("a text")
    start = time.perf_counter()
    many = term_pattern(f"term{k}" for k in range(1000))
    assert many.findall("term7 term777 term7777") == ["term7", "term777"]
    # An assertion for each term takes a minute.
    assert time.perf_counter() - start < 20
