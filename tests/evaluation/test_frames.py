import numpy as np
import pandas as pd
import pytest

from tensorflow_model_remediation_ext.evaluation import (
    accuracy,
    auc,
    flips,
    group_metrics,
    linear_probe,
)
from tensorflow_model_remediation_ext.evaluation.frames import (
    columns_of,
    to_array,
)

N = 60
RNG = np.random.default_rng(0)
COLUMNS = {
    "label": RNG.integers(2, size=N),
    "score": RNG.random(N).round(3),
    "after": RNG.random(N).round(3),
    "old": RNG.random(N) < 0.5,
    "faith": RNG.choice(["a", "b"], N),
}


def pandas():
    return pd.DataFrame(COLUMNS)


def nullable():
    return pd.DataFrame(COLUMNS).convert_dtypes()


def objects():
    return pd.DataFrame(COLUMNS).astype(object)


def arrow_backed():
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas", "2")  # `dtype_backend` is new in it.
    return pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow")


def polars():
    return pytest.importorskip("polars").DataFrame(COLUMNS)


def arrow():
    return pytest.importorskip("pyarrow").table(COLUMNS)


@pytest.fixture(
    params=[pandas, nullable, objects, arrow_backed, polars, arrow],
    ids=lambda make: make.__name__,
)
def frame(request):
    return request.param()


def test_performance_takes_their_columns(frame):
    label, score = frame["label"], frame["score"]
    for function in (accuracy, auc):
        assert function(label, score) == function(
            COLUMNS["label"], COLUMNS["score"]
        )


def test_flips_take_their_columns_and_groups(frame):
    report = flips(
        frame["score"],
        frame["after"],
        groups=part(frame, ["old", "faith"]),
        sample_weight=frame["score"],
        seed=0,
    )
    expected = flips(
        COLUMNS["score"],
        COLUMNS["after"],
        groups=pd.DataFrame({k: COLUMNS[k] for k in ("old", "faith")}),
        sample_weight=COLUMNS["score"],
        seed=0,
    )
    if isinstance(frame, pd.DataFrame) and frame["old"].dtype == object:
        # Declared as anything, they are labels.
        assert report["old=True"].n == expected["old"].n
    else:
        assert report == expected


def test_group_metrics_take_their_columns_and_groups(frame):
    options = {"n_boot": 20, "n_permutations": 9}
    for groups in (["faith"], ["old", "faith"]):
        report = group_metrics(
            frame["label"], frame["score"], part(frame, groups), **options
        )
        expected = group_metrics(
            COLUMNS["label"],
            COLUMNS["score"],
            {name: COLUMNS[name] for name in groups},
            **options,
        )
        assert repr(report) == repr(expected)


def test_probes_take_tables_of_numbers(frame):
    names = ["score", "after", "old"]
    report = linear_probe(part(frame, names), frame["faith"])
    array = np.stack([COLUMNS[name] for name in names], axis=1)
    assert report == linear_probe(array, COLUMNS["faith"])


def part(frame, names):
    return frame.select(names) if hasattr(frame, "select") else frame[names]


def test_missing_numbers_are_nan_and_refused():
    column = pd.array([0.5, None, 0.2], "Float64")
    np.testing.assert_array_equal(to_array(column, "x"), [0.5, np.nan, 0.2])
    with pytest.raises(
        ValueError, match=r"`labels` must be finite.*nan in row"
    ):
        auc(pd.array([1, None, 0], "Int64"), [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"`groups\['old'\]`.*missing"):
        flips(
            [0.1, 0.2],
            [0.1, 0.2],
            groups={"old": pd.array([True, None], "boolean")},
        )


@pytest.mark.parametrize(
    "values",
    [["a", "b"], np.array([1j, 2]), np.array(["2020-01-01"], "datetime64[D]")],
)
def test_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="`predictions` must be an array of"):
        auc(np.arange(len(values)) % 2, values)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensors_of_pytorch_are_arrays(dtype):
    torch = pytest.importorskip("torch")
    labels, groups = COLUMNS["label"], COLUMNS["old"].astype(int)
    scores = (COLUMNS["score"] * 8).round() / 8  # As bfloat16 has them.
    weights = torch.ones(N, dtype=getattr(torch, dtype))
    # As a model returns them on Keras' PyTorch backend.
    tensor = torch.tensor(
        scores, dtype=getattr(torch, dtype), requires_grad=True
    )
    few = {"n_boot": 10, "n_permutations": 9}
    report = group_metrics(
        torch.tensor(labels),
        tensor,
        torch.tensor(groups),
        sample_weight=weights,
        **few,
    )
    expected = group_metrics(
        labels, scores, groups, sample_weight=np.ones(N), **few
    )
    assert repr(report) == repr(expected)
    assert auc(torch.tensor(labels), tensor) == auc(labels, scores)
    assert repr(flips(tensor, 1 - tensor, seed=0)) == repr(
        flips(scores, 1 - scores, seed=0)
    )
    two = torch.stack([1 - tensor, tensor], dim=1)
    report = group_metrics(torch.tensor(labels), two, groups, **few)
    assert report["overall"].accuracy == expected["overall"].accuracy


def test_what_has_no_values_yet_says_how_to_get_them():
    lazy = pytest.importorskip("polars").LazyFrame(COLUMNS)
    with pytest.raises(TypeError, match=r"`groups`.*`groups.collect\(\)`"):
        flips([0.1], [0.2], groups=lazy)
    with pytest.raises(TypeError, match=r"`predictions` must be.*dict"):
        auc([0, 1], {"a": [0.1, 0.2]})


@pytest.mark.parametrize("make", [pandas, arrow])
def test_columns_of_one_name_are_refused(make):
    frame = make()
    if make is pandas:
        frame.columns = ["label", "score", "score", "old", "faith"]
    else:
        frame = frame.rename_columns(
            ["label", "score", "score", "old", "faith"]
        )
    with pytest.raises(ValueError, match=r"`x` must have columns.*'score', 's"):
        columns_of(frame, "x")


def test_numbers_stay_what_they_are():
    assert to_array([1, 2], "x").dtype.kind == "i"
    assert to_array([[True], [False]], "x").dtype == bool
    assert to_array(np.array([True, 2], object), "x").tolist() == [1.0, 2.0]
    assert to_array(pd.DataFrame(index=range(3)), "x").shape == (3, 0)
    assert columns_of(np.eye(2), "x") is None
