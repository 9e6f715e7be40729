"""Fitting an eraser in a Beam pipeline."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

beam = pytest.importorskip("apache_beam", reason="needs the extra [beam]")

from tensorflow_model_remediation_ext.leace.beam import FitLeace  # noqa: E402
from tensorflow_model_remediation_ext.leace.keras import (  # noqa: E402
    LeaceEraser,
    LeaceFitter,
)

N, D, K = 3000, 8, 3


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, K, N)
    x = rng.normal(size=(N, D)) + 2 * rng.normal(size=(K, D))[ids] + 10
    return x, ids, rng.integers(0, 3, N)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["rows", "batches", "weighted rows"])
def test_a_pipeline_fits_what_a_fitter_fits(tmp_path, data, kind):
    x, ids, weight = data
    elements = {
        "rows": list(zip(x, ids.tolist(), strict=True)),
        "batches": [(x[i : i + 70], ids[i : i + 70]) for i in range(0, N, 70)],
        "weighted rows": list(zip(x, np.eye(K)[ids], weight, strict=True)),
    }[kind]
    path = str(tmp_path / "eraser.npz")
    combine = FitLeace(D, K)
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | beam.Create(elements)
            # Two accumulators to merge. Several local workers would have more,
            # but Beam 2.77 may cut elements there where a stage takes longer
            # than a second, and then read on without end.
            | beam.CombineGlobally(combine).with_fanout(2).without_defaults()
            | beam.Map(lambda arrays: np.savez(path, **arrays))
        )
    if kind != "weighted rows":
        weight = None
    want = LeaceFitter.fit(x, ids, sample_weight=weight).eraser
    got = LeaceEraser(**np.load(path))
    scale = np.abs(want.P).max()
    np.testing.assert_allclose(got.P, want.P, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(got.bias, want.bias, rtol=1e-12)


def test_any_grouping_of_accumulators_gives_the_same(data):
    x, ids, _ = data
    combine = FitLeace(D, K, affine=False)
    parts = []
    for start in (0, 5, 2000):
        accumulator = combine.create_accumulator()
        for row, label in zip(
            x[start : start + 900], ids[start:], strict=False
        ):
            accumulator = combine.add_input(accumulator, (row, label))
        parts.append(accumulator)
    together = combine.merge_accumulators(map(combine.compact, parts))
    pairwise = combine.merge_accumulators(
        [parts[0], combine.merge_accumulators(parts[1:])]
    )
    one, two = map(combine.extract_output, (together, pairwise))
    np.testing.assert_allclose(
        one["proj_left"] @ one["proj_right"],
        two["proj_left"] @ two["proj_right"],
        atol=1e-12,
    )
    assert one["bias"] is None


def test_ids_and_columns_and_sequences_go_together(data):
    x, ids, _ = data
    combine = FitLeace(D, K)
    accumulator = combine.create_accumulator()
    tokens = slice(200, 240)
    for element in (
        (x[0], ids[0]),
        (x[1], np.eye(K)[ids[1]]),
        (x[2:200], ids[2:200]),
        (x[tokens].reshape(4, 10, D), ids[tokens].reshape(4, 10)),
        (x[tokens].reshape(8, 5, D), ids[tokens].reshape(8, 5)),
    ):
        accumulator = combine.add_input(accumulator, element)
    got = LeaceEraser(**combine.extract_output(accumulator))
    rows = np.r_[:240, tokens]
    want = LeaceEraser.fit(x[rows], ids[rows])
    np.testing.assert_allclose(got.P, want.P, atol=1e-12)
    narrow = combine.add_input(
        (None, [(x[:1], ids[:1], np.ones(1))], 1), (x[0, 1:], 0)
    )
    with pytest.raises(ValueError, match="`x` must be of shape"):
        combine.extract_output(narrow)


def test_errors_come_early():
    with pytest.raises(ValueError, match="`method` must be one of"):
        FitLeace(D, K, method="inlp")
    with pytest.raises(ValueError, match="`preserve_dim` is not supported"):
        FitLeace(D, K, preserve_dim=1)
    combine = FitLeace(D, K)
    with pytest.raises(ValueError, match="At least two samples"):
        combine.extract_output(combine.create_accumulator())


def test_elements_are_pairs_or_triples(data):
    x, ids, _ = data
    combine = FitLeace(D, K)
    empty = combine.create_accumulator
    with_none = combine.add_input(empty(), (x, ids, None))
    without = combine.add_input(empty(), (x, ids))
    np.testing.assert_array_equal(
        combine.extract_output(with_none)["proj_left"],
        combine.extract_output(without)["proj_left"],
    )
    for element in ({"x": x, "z": ids}, x, (x,), (x, ids, None, None)):
        with pytest.raises(ValueError, match=r"Elements must be .*Received"):
            combine.add_input(empty(), element)


@pytest.mark.parametrize("element", ["rows", "batches"])
def test_workers_may_send_other_dtypes(data, element):
    x, ids, _ = data
    dtypes = itertools.cycle(
        itertools.product(
            (np.float16, tf.bfloat16.as_numpy_dtype, np.float64),
            (np.int64, np.uint64, np.int8),
        )
    )
    size = 1 if element == "rows" else 20
    elements = [
        (x[i : i + size].astype(a), ids[i : i + size].astype(b))
        for i, (a, b) in zip(range(0, 400, size), dtypes, strict=False)
    ]
    fitter = LeaceFitter(D, K)
    combine = FitLeace(D, K)
    accumulator = combine.create_accumulator()
    for rows, labels in elements:
        fitter.update(rows, labels)
        if element == "rows":
            rows, labels = rows[0], labels[0]
        accumulator = combine.add_input(accumulator, (rows, labels))
    got = LeaceEraser(**combine.extract_output(accumulator))
    np.testing.assert_allclose(got.P, fitter.eraser.P, rtol=0, atol=1e-5)


def test_rows_that_an_element_lacks_are_not_taken_from_another(data):
    x, ids, _ = data
    combine = FitLeace(D, K)
    empty = combine.create_accumulator
    for element in (
        (x[:5], ids[:10]),  # The next element might have five labels less.
        (x[:5], ids[:5], np.ones(4)),
        (x[:5], ids[:5], 2.0),
        (x[:5], 1),
        (1.0, 1),
    ):
        with pytest.raises(ValueError, match=r"must be those of one row"):
            combine.add_input(empty(), element)


def test_values_are_read_as_a_fitter_reads_them(data):
    x, ids, _ = data
    combine = FitLeace(D, K)
    empty = combine.create_accumulator
    masked = np.ma.masked_greater(x[:50], 1.0)
    accumulator = combine.add_input(empty(), (masked, ids[:50]))
    with pytest.raises(ValueError, match="`x` holds NaN"):
        combine.extract_output(accumulator)
    for sparse in (tf.sparse.from_dense(x[:5]), None, [x[0], x[1, :1]]):
        with pytest.raises(ValueError, match="`x` must be a dense array"):
            combine.add_input(empty(), (sparse, ids[:5]))
