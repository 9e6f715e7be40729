"""Tables and arrays of every kind that features and labels come in."""

import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.leace.arrays import cast_to_tensor
from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    LeaceFitter,
    OracleEraser,
    OracleFitter,
    QuadraticEditor,
    QuadraticEraser,
    QuadraticFitter,
)

N = 60
FITTERS = [LeaceFitter, OracleFitter, QuadraticFitter]
RNG = np.random.default_rng(0)
FLAG = RNG.integers(0, 2, N).astype(bool)
COLUMNS = {
    "height": RNG.normal(size=N),
    "member": FLAG,
    "count": RNG.integers(0, 9, N),
}
X = np.column_stack(list(COLUMNS.values())).astype(float)
Z = np.arange(N) % 2


def pandas_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS)
    twice = frame.set_axis(["a", "a", "b"], axis=1)
    return {
        "mixed": frame,
        "nullable": frame.convert_dtypes(),
        "Float64": frame.astype("Float64"),
        "objects": frame.astype(object),
        "same names": twice,
        "values": frame.to_numpy(dtype=object),
    }


def polars_tables():
    polars = pytest.importorskip("polars")
    return {"polars": polars.DataFrame(COLUMNS)}


@pytest.mark.parametrize("kind", FITTERS)
@pytest.mark.parametrize("tables", [pandas_tables, polars_tables])
def test_tables_are_features(kind, tables):
    wanted = kind.fit(X, Z)
    for name, table in tables().items():
        fitter = kind.fit(table, Z)
        np.testing.assert_allclose(fitter.mean_x, wanted.mean_x, err_msg=name)
        other = kind(3, 2).update(table, Z)
        np.testing.assert_allclose(other.mean_x, wanted.mean_x, err_msg=name)


def test_tables_are_erased():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS)
    eraser = LeaceEraser.fit(frame, Z)
    np.testing.assert_allclose(eraser(frame), eraser(X))
    batches = [(frame[:30], Z[:30]), (frame[30:], Z[30:])]
    streamed = LeaceFitter(3, 1).fit_dataset(batches, verbose=0)
    np.testing.assert_allclose(streamed.eraser.P, eraser.P, atol=1e-12)


@pytest.mark.parametrize("kind", FITTERS)
def test_series_are_labels_and_weights(kind):
    pandas = pytest.importorskip("pandas")
    wanted = kind.fit(X, Z, sample_weight=1.0 + FLAG)
    for z in (
        pandas.Series(Z),
        pandas.Series(Z, dtype="Int64"),
        pandas.Series(Z == 1, dtype="boolean"),
        pandas.Series(Z == 1),
        list(Z),
    ):
        weight = pandas.Series(1 + FLAG, dtype="Float64")
        fitter = kind.fit(X, z, sample_weight=weight)
        np.testing.assert_allclose(fitter.mean_x, wanted.mean_x)


@pytest.mark.parametrize("kind", FITTERS)
def test_columns_that_hold_no_numbers_are_named(kind):
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    name = ["x"] * N
    for table, dtype in (
        (pandas.DataFrame({**COLUMNS, "name": name}), "in column 'name'"),
        (
            pandas.DataFrame({**COLUMNS, "name": name}).astype(
                {"name": "category"}
            ),
            "category in column 'name'",
        ),
        (polars.DataFrame({**COLUMNS, "name": name}), "in column 'name'"),
        (np.full((N, 3), "a"), "of dtype <U1"),
        (np.full((N, 3), 1j), "of dtype complex128"),
        (np.full((N, 3), "2020-01-01", "M8[D]"), "datetime64"),
    ):
        with pytest.raises(ValueError, match="`x` must hold real") as error:
            kind.fit(table, Z)
        assert dtype in str(error.value)
    with pytest.raises(ValueError, match=r"`z` must hold real.*complex"):
        kind.fit(X, Z + 0j)
    with pytest.raises(ValueError, match="`sample_weight` must hold real"):
        kind.fit(X, Z, sample_weight=Z + 0j)


def test_missing_values_are_refused_as_such():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS).convert_dtypes()
    frame.loc[3, "height"] = pandas.NA
    with pytest.raises(ValueError, match="`x` holds NaN"):
        LeaceFitter.fit(frame, Z)


def test_masked_values_are_missing():
    rows, labels = np.ma.array(X), np.ma.array(Z)
    rows[3, 1] = labels[5] = np.ma.masked
    unmasked = np.ma.array(X, mask=False)
    np.testing.assert_array_equal(
        LeaceEraser.fit(unmasked, Z).P, LeaceEraser.fit(X, Z).P
    )
    for x, z, name in ((rows, Z, "x"), (X, labels, "z")):
        with pytest.raises(ValueError, match=f"`{name}` holds NaN"):
            LeaceFitter.fit(x, z)
        with pytest.raises(ValueError, match=f"`{name}` holds NaN"):
            LeaceFitter(3, 1).fit_dataset([(x, z)], verbose=0)


@pytest.mark.parametrize("bad", [None, [[1.0], [1.0, 2.0]], {"a": 1}, 7.0])
def test_what_is_no_table_of_numbers_is_refused(bad):
    for kind in FITTERS:
        with pytest.raises(ValueError, match="`x` must be"):
            kind.fit(bad, Z)


def test_sparse_matrices_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="`x` must be a dense array"):
        LeaceFitter.fit(sparse.csr_matrix(X), Z)
    with pytest.raises(ValueError, match="`x` must be a dense array"):
        LeaceFitter.fit(tf.sparse.from_dense(X), Z)


def test_erasers_are_made_of_real_numbers():
    real, complex_ = np.ones((3, 1)), np.ones((3, 1)) + 0j
    maps = np.ones((2, 3, 3))
    for make in (
        lambda: LeaceEraser(complex_, real.T),
        lambda: LeaceEraser(real, complex_.T),
        lambda: LeaceEraser(real, real.T, np.ones(3) + 0j),
        lambda: OracleEraser(complex_, np.ones(1)),
        lambda: OracleEraser(real, np.ones(1) + 0j),
        lambda: QuadraticEraser(np.ones((2, 3)), np.ones(3), maps + 0j),
        lambda: QuadraticEditor(np.ones((2, 3)) + 0j, maps[:, None]),
    ):
        with pytest.raises(ValueError, match=r"must hold real .*complex128"):
            make()
    eraser = LeaceEraser([[1], [0]], [[1, 0]])
    np.testing.assert_allclose(eraser([[2.0, 3.0]]), [[0, 3]])


def test_the_samples_of_concept_erasure_run():
    torch = pytest.importorskip("torch")
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    n, d = 2048, 128
    x, y = make_classification(n, d, n_classes=2, random_state=42)
    x_t, y_t = torch.from_numpy(x), torch.from_numpy(y)
    eraser = LeaceEraser.fit(x_t, y_t)
    erased = eraser(x_t)
    null = LogisticRegression(max_iter=1000, tol=0.0).fit(erased.numpy(), y)
    assert np.abs(null.coef_).max() < 1e-4

    fitter = LeaceFitter(d, 1, dtype=x_t.dtype)
    for some_x, some_y in zip(x_t.chunk(2), y_t.chunk(2), strict=True):
        fitter.update(some_x, some_y)
    np.testing.assert_allclose(fitter.eraser(x_t[0]), erased[0], atol=1e-9)


@pytest.mark.parametrize("kind", FITTERS)
def test_tensors_of_pytorch_that_numpy_refuses(kind):
    torch = pytest.importorskip("torch")
    eighths = np.round(8 * X) / 8  # Which bfloat16 holds.
    wanted = kind.fit(eighths, Z).mean_x
    x = torch.tensor(eighths)
    for tensor in (
        x.clone().requires_grad_(),
        torch.nn.Parameter(x),
        x.bfloat16().requires_grad_(),
    ):
        fitter = kind.fit(tensor, torch.tensor(Z))
        np.testing.assert_allclose(fitter.mean_x, wanted, rtol=1e-6)
        streamed = kind(3, 2).fit_dataset([(tensor, Z)], verbose=0)
        np.testing.assert_allclose(streamed.mean_x, wanted, rtol=1e-6)
    eraser = LeaceEraser.fit(X, Z)
    found = eraser(torch.tensor(X, requires_grad=True))
    np.testing.assert_array_equal(found, eraser(X))
    with pytest.raises(ValueError, match="`x` must be a dense array"):
        kind.fit(x.to_sparse(), Z)


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (257, 31)])
def test_an_array_becomes_a_tensor_of_its_own(source, shape):
    value = RNG.normal(size=(shape[0] + 1, *shape[1:])).astype(source)[1:]
    want = value.astype("float64")
    variable = tf.Variable(tf.zeros(shape, tf.float64))
    tensor = cast_to_tensor(value, tf.float64)
    value[...] = 0
    del value
    variable.assign_add(tensor)  # Ends the process if memory is not aligned.
    np.testing.assert_array_equal(variable.numpy(), want)
