import sys

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.datasets import (
    CIVIL_COMMENTS_TERMS,
    load_civil_comments,
    stream_civil_comments,
)


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def random_comments(tfds, tmp_path):
    """TFDS's own fakes, of the real builder's features; no network."""
    with tfds.testing.mock_data(num_examples=20):
        yield {"data_dir": str(tmp_path)}


@pytest.fixture
def given_comments(tfds, tmp_path):
    """Three comments on either side of the threshold, under the real names."""

    def as_dataset(builder, *args, **kwargs):
        assert {"text", "toxicity"} <= set(builder.info.features)
        return tf.data.Dataset.from_tensor_slices(
            {
                "text": ["thanks", "été", "go away"],
                "toxicity": tf.constant([0.49, 0.5, 1.0]),
            }
        )

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        yield {"data_dir": str(tmp_path)}


def test_streams_scalar_texts_and_labels(random_comments):
    ds = stream_civil_comments("train", **random_comments)
    assert ds.element_spec == (
        tf.TensorSpec((), tf.string),
        tf.TensorSpec((), tf.int32),
    )
    rows = list(ds.as_numpy_iterator())
    assert len(rows) == 20
    assert {label for _, label in rows} == {0, 1}


def test_limit_takes_the_first(random_comments):
    everything = load_civil_comments("test", **random_comments)
    some = load_civil_comments("test", limit=7, **random_comments)
    assert list(some.texts) == list(everything.texts[:7])
    assert list(some.labels) == list(everything.labels[:7])
    assert len(load_civil_comments("test", limit=99, **random_comments)) == 20


def test_toxic_from_the_threshold_up(given_comments):
    data = load_civil_comments(**given_comments)
    assert list(data.texts) == ["thanks", "été", "go away"]
    assert data.labels.dtype == np.int32
    assert list(data.labels) == [0, 1, 1]
    stricter = load_civil_comments(toxicity_threshold=0.8, **given_comments)
    assert list(stricter.labels) == [0, 0, 1]


def test_no_term_is_in_two_groups():
    terms = [term for group in CIVIL_COMMENTS_TERMS.values() for term in group]
    assert len(set(terms)) == len(terms)
    assert all(term == term.strip().lower() for term in terms)


def test_limit_must_be_positive(tfds):
    with pytest.raises(ValueError, match="limit=0"):
        stream_civil_comments(limit=0)
    with pytest.raises(ValueError, match="`toxicity_threshold` must be a fin"):
        stream_civil_comments(toxicity_threshold=float("nan"))


def test_missing_dependency_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install .*ext\[datasets\]"):
        stream_civil_comments()
