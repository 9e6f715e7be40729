import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tensorflow_model_remediation_ext.min_diff import losses
from tensorflow_model_remediation_ext.min_diff.losses import (
    AbsoluteCorrelationLoss,
    AdjustedMMDLoss,
    MinDiffLoss,
    MMDLoss,
    RateGapLoss,
)

MEMBERSHIP = np.array([[1], [0], [1], [0], [1]], "float32")
PREDICTIONS = np.array([[0.3], [0.1], [0.86], [0.06], [0.75]], "float32")
OTHERS = np.array([[0.12], [0.7], [0.2], [0.86], [0.32]], "float32")
WEIGHT = np.array([[1.0], [2.0], [2.5], [1.2], [0.9]], "float32")
ALL = [
    MMDLoss(),
    MMDLoss("laplacian"),
    MMDLoss(unbiased=False),
    AdjustedMMDLoss(),
    AdjustedMMDLoss("laplacian", unbiased=False),
    AbsoluteCorrelationLoss(),
    RateGapLoss(),
    RateGapLoss(signed=True),
]


def biased(kind=MMDLoss, kernel="gaussian"):
    return kind(kernel, "sigmoid", unbiased=False)


# What the tests of the predecessor pin.
@pytest.mark.parametrize(
    ("loss", "predictions", "weight", "figure"),
    [
        (biased(), PREDICTIONS, None, 1.083264),
        (biased(), OTHERS, None, 1.464054),
        (biased(), PREDICTIONS, WEIGHT, 1.293555),
        (biased(), OTHERS, WEIGHT, 1.481506),
        (biased(kernel="laplace"), PREDICTIONS, None, 0.970659),
        (biased(kernel="laplace"), OTHERS, None, 1.119343),
        (biased(kernel="laplace"), PREDICTIONS, WEIGHT, 1.122741),
        (biased(AdjustedMMDLoss), PREDICTIONS, None, 8.627618),
        (biased(AdjustedMMDLoss), OTHERS, None, 23.2143),
        (biased(AdjustedMMDLoss), PREDICTIONS, WEIGHT, 9.935723),
        (biased(AdjustedMMDLoss, "laplace"), PREDICTIONS, None, 6.4339886),
        (biased(AdjustedMMDLoss, "laplace"), OTHERS, WEIGHT, 8.1804),
        (AbsoluteCorrelationLoss(), PREDICTIONS, None, 0.823209),
        (AbsoluteCorrelationLoss(), OTHERS, None, 0.959671),
        (AbsoluteCorrelationLoss(), PREDICTIONS, WEIGHT, 0.872562),
    ],
)
def test_figures_of_the_predecessor(loss, predictions, weight, figure):
    found = loss(MEMBERSHIP, predictions, weight)
    pinned_to = 10.0 ** -len(str(figure).partition(".")[2])
    np.testing.assert_allclose(found, figure, rtol=1e-6, atol=pinned_to)


def test_several_columns_and_rows_without_weight_as_in_the_predecessor():
    membership = [[1], [0], [1], [0], [1], [1], [0]]
    predictions = [[0, 0.5], [1, 0], [0.8, 0], [0, 0.8]]
    predictions += [[0.75, 0.8], [0.2, 0.4], [0.5, 0.1]]
    weight = [[1.0]] * 4 + [[0.0]] * 3
    found = biased()(membership, predictions, weight)
    np.testing.assert_allclose(found, 0.262881, atol=1e-6)
    more = np.concatenate([PREDICTIONS, [[0.2], [0.5]]])
    weight = np.concatenate([WEIGHT, [[0.0], [0.0]]])
    for loss, figure in (
        (biased(), 1.293555),
        (biased(AdjustedMMDLoss), 9.935723),
    ):
        found = loss(membership, more, weight)
        np.testing.assert_allclose(found, figure, rtol=2e-6)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
def test_shapes_and_dtypes_are_all_the_same_rows(loss):
    expected = float(loss(MEMBERSHIP, PREDICTIONS, WEIGHT))
    unweighted = float(loss(MEMBERSHIP, PREDICTIONS))
    assert expected != pytest.approx(unweighted, abs=1e-3)
    for membership in (
        MEMBERSHIP[:, 0],
        MEMBERSHIP.astype("int64"),
        MEMBERSHIP[:, 0].astype(bool),
        MEMBERSHIP.astype("float16"),
    ):
        for predictions in (PREDICTIONS, PREDICTIONS[:, 0]):
            for weight in (WEIGHT, WEIGHT[:, 0]):
                found = loss(membership, predictions, weight)
                assert float(found) == pytest.approx(expected, rel=1e-5)
    halves = loss(MEMBERSHIP, PREDICTIONS.astype("float16"), WEIGHT)
    assert float(halves) == pytest.approx(expected, rel=2e-2)
    # A weight is a count.
    doubled = np.repeat(np.arange(5), 2)
    rows = [a[doubled] for a in (MEMBERSHIP, PREDICTIONS)]
    counts = not getattr(loss, "unbiased", False)
    if counts and not isinstance(loss, AdjustedMMDLoss):
        assert float(loss(*rows)) == pytest.approx(unweighted, rel=1e-4)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
@pytest.mark.parametrize(
    ("membership", "weight"),
    [
        (np.ones(5), None),
        (np.zeros(5), None),
        (MEMBERSHIP, MEMBERSHIP),
        (MEMBERSHIP, np.zeros(5)),
    ],
    ids=["all", "none", "weight of one group", "no weight"],
)
def test_one_group_gives_nothing_and_no_gradient(loss, membership, weight):
    predictions = tf.Variable(PREDICTIONS)
    with tf.GradientTape() as tape:
        figure = loss(membership, predictions, weight)
    assert float(figure) == 0
    gradient = tape.gradient(figure, predictions)
    assert not np.any(gradient)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
@pytest.mark.parametrize("rows", [5, 30, 100])
@pytest.mark.parametrize("value", [-3.0, 0.3, 0.5])
def test_equal_predictions_give_nothing_and_a_small_gradient(loss, rows, value):
    rng = np.random.default_rng(rows)
    membership = np.arange(rows) % 2
    for weight in (None, np.arange(rows) % 3, rng.random(rows)):
        predictions = tf.Variable(np.full((rows, 1), value, "float32"))
        with tf.GradientTape() as tape:
            figure = loss(membership, predictions, weight)
        assert float(figure) == pytest.approx(0, abs=1e-6)
        # Not a million, as of rounding that is taken for a difference.
        assert np.abs(tape.gradient(figure, predictions)).max() < 10


def test_the_unbiased_discrepancy_is_the_mean_over_pairs_of_other_rows():
    loss = MMDLoss("laplacian")
    weight = WEIGHT[:, 0].astype("float64")
    similar = np.exp(-np.abs(PREDICTIONS - PREDICTIONS.T) / 0.1)

    def mean(a, b):
        pairs = np.outer(weight * a, weight * b)
        np.fill_diagonal(pairs, 0)
        return np.sum(pairs * similar) / np.sum(pairs)

    one, other = MEMBERSHIP[:, 0], 1 - MEMBERSHIP[:, 0]
    expected = mean(one, one) + mean(other, other) - 2 * mean(one, other)
    found = loss(MEMBERSHIP, PREDICTIONS, WEIGHT)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # One row of a group has no other to meet.
    assert float(loss([1, 0, 0], [0.1, 0.5, 0.9])) == 0


def test_without_a_difference_only_the_biased_one_is_above_zero():
    rng = np.random.default_rng(0)
    figures = {True: [], False: []}
    for _ in range(200):
        scores = rng.uniform(size=(16, 1)).astype("float32")
        for unbiased, found in figures.items():
            loss = MMDLoss(unbiased=unbiased)
            found.append(float(loss([1, 0] * 8, scores)))
    error = np.std(figures[True]) / np.sqrt(200)
    assert abs(np.mean(figures[True])) < 3 * error
    assert np.mean(figures[False]) > 0.1


def test_rate_gap_is_smooth_and_signed():
    decisions = 1 / (1 + np.exp(-(PREDICTIONS[:, 0] - 0.4) / 0.2))
    one = MEMBERSHIP[:, 0] == 1
    weight = WEIGHT[:, 0]
    gap = np.average(decisions[~one], weights=weight[~one])
    gap = np.average(decisions[one], weights=weight[one]) - gap
    options = {"threshold": 0.4, "temperature": 0.2}
    for signed, expected in ((True, gap), (None, gap), (False, gap)):
        loss = RateGapLoss(**options, signed=signed)
        found = float(loss(MEMBERSHIP, PREDICTIONS, WEIGHT))
        assert found == pytest.approx(expected, rel=1e-5)
        flipped = float(loss(1 - MEMBERSHIP, PREDICTIONS, WEIGHT))
        assert flipped == pytest.approx(-gap if signed else gap, rel=1e-5)


@pytest.mark.parametrize(
    "kind", [MMDLoss, RateGapLoss, AbsoluteCorrelationLoss]
)
def test_more_groups_give_the_largest_against_the_rest(kind):
    rng = np.random.default_rng(1)
    ids = np.repeat([0, 1, 2], 6)
    scores = (
        rng.uniform(size=(18, 1)).astype("float32") + 0.2 * (ids == 2)[:, None]
    )
    loss, pair = kind(groups=3), kind()
    each = [float(pair((ids == k) * 1, scores)) for k in range(3)]
    assert float(loss(ids, scores)) == pytest.approx(max(each), rel=1e-5)
    by_group = loss.compare_groups(loss.call, ids, scores)
    np.testing.assert_allclose(by_group, each, rtol=1e-5)
    # A group that is absent compares with nothing.
    assert float(loss.compare_groups(loss.call, ids[:12], scores[:12])[2]) == 0


def test_sequences_are_rows_and_masks_weigh_nothing():
    rng = np.random.default_rng(2)
    scores = rng.uniform(size=(4, 3, 1)).astype("float32")
    ids = np.array([1, 0, 1, 0])
    weight = np.array([1.0, 2.0, 1.0, 0.5], "float32")
    layer = keras.layers.Masking(mask_value=9.0)
    scores[1, 1:] = 9.0
    kept = np.ones((4, 3), bool)
    kept[1, 1:] = False
    rows = [np.repeat(a[:, None], 3, 1)[kept] for a in (ids, weight)]
    for loss in (MMDLoss(), RateGapLoss(), AbsoluteCorrelationLoss()):
        found = loss(ids, layer(scores), weight)
        expected = loss(rows[0], scores[kept], rows[1])
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
def test_graph_and_xla_agree_with_eager(loss):
    expected = float(loss(MEMBERSHIP, PREDICTIONS, WEIGHT))
    for jit in (False, True):
        compiled = tf.function(loss, jit_compile=jit)
        found = compiled(*map(tf.constant, (MEMBERSHIP, PREDICTIONS, WEIGHT)))
        assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
@pytest.mark.parametrize(
    ("membership", "weight", "message"),
    [
        ([0, 1, 2, 0, 1], None, "`membership`.*groups=2.*2"),
        ([0.0, 1.0, 0.5, 0.0, 1.0], None, "`membership`.*0.5"),
        ([0, 1, -1, 0, 1], None, "`membership`.*-1"),
        ([0.0, 1.0, np.nan, 0.0, 1.0], None, "`membership`.*nan"),
        (MEMBERSHIP, [1, 1, 1, 1, -2.0], "`sample_weight`.*-2"),
        (MEMBERSHIP, [1, 1, 1, 1, np.nan], "`sample_weight`.*nan"),
        (MEMBERSHIP, [1, 1, 1, np.inf, 1], "`sample_weight`.*inf"),
    ],
)
def test_bad_values(loss, membership, weight, message):
    with pytest.raises(ValueError, match=message):
        loss(membership, PREDICTIONS, weight)
    if weight is None or not np.isinf(weight).any():
        # A graph cannot raise; it is not silent.
        args = [np.asarray(membership, "float32"), PREDICTIONS]
        if weight is not None:
            args.append(np.asarray(weight, "float32"))
        assert np.isnan(tf.function(loss)(*map(tf.constant, args)))


def test_nan_predictions_give_nan():
    scores = PREDICTIONS.copy()
    scores[2] = np.nan
    for loss in ALL:
        assert np.isnan(float(loss(MEMBERSHIP, scores))), loss.name


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
def test_rows_without_weight_count_for_nothing(loss):
    weight = np.append(WEIGHT, 0).astype("float32")
    scores = np.concatenate([PREDICTIONS, [[np.nan]]]).astype("float32")
    expected = float(loss(MEMBERSHIP, PREDICTIONS, WEIGHT))
    found = float(loss([*np.ravel(MEMBERSHIP), 1], scores, weight))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MEMBERSHIP[:4], PREDICTIONS), r"`membership`.*\(5,\).*\(4, 1\)"),
        ((np.eye(5), PREDICTIONS), r"`membership`.*\(5, 5\)"),
        ((MEMBERSHIP, PREDICTIONS, np.ones(4)), "`sample_weight`"),
        ((MEMBERSHIP, PREDICTIONS, np.ones((5, 2))), "`sample_weight`"),
    ],
)
def test_bad_shapes(arguments, message):
    for loss in ALL:
        with pytest.raises(ValueError, match=message):
            loss(*arguments)


def test_a_rate_needs_one_column():
    two = np.concatenate([1 - PREDICTIONS, PREDICTIONS], axis=1)
    with pytest.raises(ValueError, match=r"predictions_transform.*5, 2"):
        RateGapLoss()(MEMBERSHIP, two)
    loss = RateGapLoss(predictions_transform=second_column)
    assert float(loss(MEMBERSHIP, two)) == pytest.approx(
        float(RateGapLoss()(MEMBERSHIP, PREDICTIONS))
    )


@keras.saving.register_keras_serializable("test_min_diff_losses")
def second_column(predictions):
    return predictions[:, 1:]


@keras.saving.register_keras_serializable("test_min_diff_losses")
class MeanGapLoss(MinDiffLoss):
    def call(self, membership, predictions, sample_weight=None):
        ones = ops.sum(membership * sample_weight)
        mean = ops.sum(membership * sample_weight * predictions)
        rest = ops.sum(sample_weight * predictions) - mean
        return ops.abs(mean / ones - rest / (1.0 - ones))


def test_a_loss_of_ones_own():
    loss = MeanGapLoss(predictions_transform="logit")
    assert loss.name == "mean_gap_loss"
    logits = np.log(PREDICTIONS / (1 - PREDICTIONS))[:, 0]
    one = MEMBERSHIP[:, 0] == 1
    expected = abs(logits[one].mean() - logits[~one].mean())
    found = loss(MEMBERSHIP, PREDICTIONS)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # Divisions by zero of a subclass do not reach a batch of one group.
    predictions = tf.Variable(PREDICTIONS)
    with tf.GradientTape() as tape:
        figure = loss(np.ones(5), predictions)
    assert float(figure) == 0
    assert not np.any(tape.gradient(figure, predictions))
    with pytest.raises(NotImplementedError, match=r"MinDiffLoss.*call"):
        MinDiffLoss()(MEMBERSHIP, PREDICTIONS)


@keras.saving.register_keras_serializable("test_min_diff_losses")
class OldLoss(MeanGapLoss):
    """With the constructor of the predecessor's base."""

    def __init__(
        self,
        membership_transform=None,
        predictions_transform=None,
        membership_kernel=None,
        predictions_kernel=None,
        name=None,
    ):
        super().__init__(
            membership_transform,
            predictions_transform,
            membership_kernel,
            predictions_kernel,
            name,
        )


@keras.saving.register_keras_serializable("test_min_diff_losses")
class NamedLoss(MMDLoss):
    def __init__(self, name="named"):
        super().__init__("laplacian", name=name, unbiased=False)


@keras.saving.register_keras_serializable("test_min_diff_losses")
class Anything(MMDLoss):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    "loss",
    [
        OldLoss(predictions_transform="logit", predictions_kernel="gaussian"),
        NamedLoss("mine"),
        Anything(kernel="laplacian"),
        MMDLoss("laplacian", "logit", "mine", unbiased=False, groups=4),
        AdjustedMMDLoss(losses.GaussianKernel(0.3)),
        AbsoluteCorrelationLoss("mine", groups=3),
        RateGapLoss(0.3, 0.2, True, predictions_transform=second_column),
        MeanGapLoss(predictions_kernel="gaussian", groups=3),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_serialized_and_back(loss):
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(loss)
    assert keras.saving.serialize_keras_object(again) == config
    for key in ("groups", "unbiased", "threshold", "signed", "name"):
        assert getattr(again, key, None) == getattr(loss, key, None)
    for key in ("predictions_transform", "predictions_kernel"):
        found, given = (getattr(each, key) for each in (again, loss))
        assert type(found) is type(given)


def test_arguments_that_would_be_lost_are_told():
    class Margin(MeanGapLoss):
        def __init__(self, margin, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(ValueError, match=r"override `get_config`.*'margin'"):
        keras.saving.serialize_keras_object(Margin(0.5))


@pytest.mark.parametrize("returned", [None, "text", (MEMBERSHIP, MEMBERSHIP)])
def test_a_transform_must_return_a_tensor(returned):
    loss = MeanGapLoss(predictions_transform=lambda predictions: returned)
    with pytest.raises(ValueError, match=r"`predictions_transform`.*Received"):
        loss(MEMBERSHIP, PREDICTIONS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mmd", MMDLoss),
        ("MMD_loss", MMDLoss),
        ("maximum_mean_discrepancy", MMDLoss),
        ("adjusted_mmd_loss", AdjustedMMDLoss),
        ("abs_corr", AbsoluteCorrelationLoss),
        ("absolute_correlation_loss", AbsoluteCorrelationLoss),
        ("rate_gap_loss", RateGapLoss),
    ],
)
def test_names(name, kind):
    assert type(losses.get(name)) is kind


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: losses.get("mse"), ValueError, "`loss`.*mmd_loss.*'mse'"),
        (lambda: losses.get(3), TypeError, "`loss`.*MinDiffLoss.*3.*int"),
        (lambda: MMDLoss(4), TypeError, "`kernel`.*4"),
        (lambda: MMDLoss(None), TypeError, "`kernel`.*None"),
        (lambda: MMDLoss(groups=1), ValueError, "`groups`.*1"),
        (lambda: RateGapLoss(temperature=0), ValueError, "`temperature`.*0"),
        (lambda: RateGapLoss("a"), ValueError, "`threshold`.*'a'"),
        (lambda: RateGapLoss(signed=2), ValueError, "`signed`.*2"),
        (
            lambda: MMDLoss(predictions_transform=4),
            ValueError,
            "`transform`.*4",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
