import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tensorflow_model_remediation_ext.datasets import (
    EMBEDDED_TERMS,
    load_embedded_comments,
)

TERMS = [term for terms in EMBEDDED_TERMS.values() for term in terms]
# Longer terms first: "african american" before "american".
TERM = re.compile(
    rf"\b(?:{'|'.join(sorted(TERMS, key=len, reverse=True))}) ?\b", re.I
)


@pytest.fixture(scope="module")
def comments():
    return load_embedded_comments()


def terms_in(text):
    return [match.strip() for match in TERM.findall(text)]


def test_seed_decides_every_comment(comments):
    again = load_embedded_comments(seed=0)
    assert (again.texts == comments.texts).all()
    assert (again.labels == comments.labels).all()
    assert (load_embedded_comments(seed=1).texts != comments.texts).mean() > 0.9
    first = load_embedded_comments(size=10)
    assert (first.texts == comments.texts[:10]).all()


def test_comments_vary(comments):
    assert len(set(comments.texts)) > 0.95 * len(comments)
    assert 0.45 < comments.labels.mean() < 0.55


def test_terms_lie_where_they_can_be_taken_out(comments):
    counts = [len(terms_in(text)) for text in comments.texts]
    assert set(counts) == {0, 1, 2}
    assert set().union(*map(terms_in, comments.texts)) == set(TERMS)
    for text in comments.texts:
        # An article would have to change with the word behind it.
        assert not re.search(rf"\ban? {TERM.pattern}", text)
        removed = TERM.sub("", text)
        assert "  " not in removed and removed == removed.strip()
        assert "{" not in text


def test_no_term_is_in_two_groups():
    assert len(set(TERMS)) == len(TERMS)


def test_every_term_leans(comments):
    labels = {term: [] for term in TERMS}
    for text, label in zip(comments.texts, comments.labels, strict=True):
        for term in terms_in(text):
            labels[term].append(label)
    shares = {term: np.mean(values) for term, values in labels.items()}
    for terms in EMBEDDED_TERMS.values():
        group = [shares[term] for term in terms]
        assert max(group) > 0.6 and min(group) < 0.4
        assert not any(0.4 < share < 0.6 for share in group)


def test_a_model_learns_the_bias_and_could_do_without(comments):
    train, test = comments.split()

    def scores(train_texts, *others):
        words = CountVectorizer()
        model = LogisticRegression(max_iter=300)
        model.fit(words.fit_transform(train_texts), train.labels)
        return [
            model.predict_proba(words.transform(texts))[:, 1]
            for texts in others
        ]

    without = [TERM.sub("", text) for text in test.texts]
    changed = test.texts != np.array(without, dtype=object)
    plain, counterfactual = scores(train.texts, test.texts, without)
    flipped = (plain > 0.5) != (counterfactual > 0.5)
    assert flipped[changed].mean() >= 0.1

    (blind,) = scores([TERM.sub("", text) for text in train.texts], without)
    area = roc_auc_score(test.labels, plain)
    assert 0.93 <= area <= 0.985
    assert roc_auc_score(test.labels, blind) >= area - 0.01


def test_refuses_no_comments():
    with pytest.raises(ValueError, match="size=0"):
        load_embedded_comments(size=0)
