"""Erasers in scikit-learn's pipelines."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tensorflow_model_remediation_ext.leace.keras import LeaceEraser
from tensorflow_model_remediation_ext.leace.sklearn import LeaceTransformer


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    z, y = rng.integers(0, 2, (2, 120))
    return rng.normal(size=(120, 5)) + z[:, None] + y[:, None], z, y


@pytest.mark.parametrize(
    ("eraser", "options"),
    [
        ("leace", None),
        ("leace", {"method": "orth"}),
        ("soft_quadratic", {"max_rank": 2}),
        ("covariance", {"rank": 1}),
        ("mmd", {"rank": 1, "steps": 3}),
        (LeaceEraser.fit, {}),
    ],
)
def test_fits_clones_and_transforms(data, eraser, options):
    x, z, _ = data
    transformer = clone(LeaceTransformer(eraser, options=options))
    with pytest.raises(NotFittedError):
        transformer.transform(x)
    erased = transformer.fit(x, z=z).transform(x)
    means = [erased[z == k].mean(0) for k in (0, 1)]
    np.testing.assert_allclose(*means, atol=1e-9)
    assert transformer.transform(x.astype("float32")).dtype == np.float32
    assert transformer.get_params() == {"eraser": eraser, "options": options}


def test_cross_validation_gives_each_fit_its_own_rows(data):
    x, z, y = data
    seen = []

    def spy(x, z, sample_weight=None):
        seen.append((x.copy(), z.copy(), sample_weight))
        return LeaceEraser.fit(x, z, sample_weight=sample_weight)

    with sklearn.config_context(enable_metadata_routing=True):
        erase = LeaceTransformer(spy).set_fit_request(z=True)
        pipeline = make_pipeline(erase, LogisticRegression())
        cross_validate(pipeline, x, y, cv=3, params={"z": z})
        search = GridSearchCV(
            make_pipeline(
                LeaceTransformer().set_fit_request(z=True),
                LogisticRegression(),
            ),
            {"leacetransformer__options": [{}, {"method": "orth"}]},
            cv=2,
        )
        assert search.fit(x, y, z=z).predict(x).shape == y.shape
    rows = {row.tobytes(): k for k, row in enumerate(x)}
    assert [len(part) for part, *_ in seen] == [80, 80, 80]
    for part, ids, _ in seen:
        places = [rows[row.tobytes()] for row in part]
        np.testing.assert_array_equal(z[places], ids)
    weight = np.arange(120) / 100 + 1
    LeaceTransformer(spy).fit(x, z=z, sample_weight=weight)
    np.testing.assert_array_equal(seen[-1][2], weight)


def test_keeps_the_names_of_features(data):
    x, z, _ = data
    frame = pd.DataFrame(x, columns=list("abcde"))
    transformer = LeaceTransformer().set_output(transform="pandas")
    erased = transformer.fit(frame, z=z).transform(frame)
    assert list(erased.columns) == list("abcde")
    assert list(transformer.get_feature_names_out()) == list("abcde")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_with_other_names_are_refused(data, library):
    table = pytest.importorskip(library).DataFrame
    x, z, _ = data
    columns = dict(zip("abcde", x.T, strict=True))
    if not hasattr(StandardScaler().fit(table(columns)), "feature_names_in_"):
        pytest.skip(f"This scikit-learn reads no names of {library}.")
    transformer = LeaceTransformer().fit(table(columns), z=z)
    assert list(transformer.feature_names_in_) == list("abcde")
    erased = transformer.transform(table(columns))
    renamed = {"q": columns["a"], **{k: columns[k] for k in "bcde"}}
    for other in (dict(reversed(columns.items())), renamed):
        with pytest.raises(ValueError, match="feature names should match"):
            transformer.transform(table(other))
    # A fit that fails leaves the transformer as it was.
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        transformer.fit(table(renamed), z=z[:3])
    np.testing.assert_array_equal(transformer.transform(table(columns)), erased)
    transformer.fit(x, z=z)
    assert not hasattr(transformer, "feature_names_in_")
    np.testing.assert_array_equal(transformer.transform(x), erased)


def test_goes_to_another_process(data):
    x, z, _ = data
    for eraser in ("leace", "soft_quadratic"):
        fitted = LeaceTransformer(eraser).fit(x, z=z)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.transform(x), fitted.transform(x))


def test_refuses(data):
    x, z, _ = data
    with pytest.raises(ValueError, match="`z`, the concept, must be given"):
        LeaceTransformer().fit(x)
    with pytest.raises(ValueError, match="`eraser` must be one of"):
        LeaceTransformer("nothing").fit(x, z=z)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LeaceTransformer().fit(x, z=z[:3])
    with pytest.raises(ValueError, match="is expecting 5 features"):
        LeaceTransformer().fit(x, z=z).transform(x[:, :4])


def test_masked_values_are_missing(data):
    x, z, _ = data
    masked = {
        "X": np.ma.array(x, mask=x > 2),
        "z": np.ma.array(z, mask=z == 1),
        "sample_weight": np.ma.array(np.ones(len(z)), mask=z == 1),
    }
    for name, value in masked.items():
        arguments = {"X": x, "z": z, name: value}
        with pytest.raises(ValueError, match=r"NaN|must be finite"):
            LeaceTransformer().fit(**arguments)
    transformer = LeaceTransformer().fit(x, z=z)
    with pytest.raises(ValueError, match="X contains NaN"):
        transformer.transform(masked["X"])
    bare = np.ma.array(x)
    np.testing.assert_array_equal(
        transformer.transform(bare), transformer.transform(x)
    )
