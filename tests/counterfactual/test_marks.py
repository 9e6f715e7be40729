"""Tests of the coded texts in which terms are marked."""

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorflow_model_remediation_ext.counterfactual import marks

CHARACTERS = st.sampled_from([*map(chr, range(1, 9)), "_", " ", "a", "é"])
TEXTS = st.lists(st.text(CHARACTERS, max_size=12), min_size=1, max_size=30)
FIXED = settings(max_examples=60, deadline=None, derandomize=True)


@FIXED
@given(TEXTS)
def test_a_code_holds_no_marks_and_is_undone(texts):
    coded = marks.code(tf.constant(texts))
    for one in coded.numpy():
        assert not set(one.decode()) & {marks.OPEN, marks.CLOSE, "_"}
    assert [t.decode() for t in marks.decode(coded).numpy()] == texts


@FIXED
@given(TEXTS)
def test_pieces_make_the_text_again(texts):
    # Every "a" is a term.
    marked = tf.strings.regex_replace(
        marks.code(tf.constant(texts)), "a", marks.OPEN + "a" + marks.CLOSE
    )
    pieces = marks.pieces(marked)
    assert [t.decode() for t in pieces.whole.numpy()] == texts
    assert set(pieces.found.numpy()) <= {b"a"}
    joined = pieces.joined(tf.fill(tf.shape(pieces.found), "xy"))
    expected = [text.replace("a", "xy") for text in texts]
    assert [t.decode() for t in joined.numpy()] == expected
