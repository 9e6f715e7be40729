import keras
import numpy as np
import pytest

from tensorflow_model_remediation_ext.min_diff.keras.metrics import RateGap

IDS = np.array([1, 0, 1, 0, 1, 0])
SCORES = np.array([[0.9], [0.2], [0.4], [0.8], [0.7], [0.6]], "float32")
WEIGHT = np.array([1.0, 2.0, 1.0, 1.0, 2.0, 1.0], "float32")


def gap(metric, *batch):
    metric.reset_state()
    metric.update_state(*batch)
    return float(metric.result())


def test_sensitive_minus_other_in_every_shape():
    expected = 3 / 4 - 2 / 4
    for ids in (IDS, IDS[:, None], IDS.astype(bool), IDS.astype("float16")):
        for scores in (SCORES, SCORES[:, 0], SCORES.astype("float16")):
            for weight in (WEIGHT, WEIGHT[:, None]):
                found = gap(RateGap(), ids, scores, weight)
                assert found == pytest.approx(expected)
    assert gap(RateGap(), 1 - IDS, SCORES, WEIGHT) == pytest.approx(-expected)
    assert gap(RateGap(0.75), IDS, SCORES) == pytest.approx(1 / 3 - 1 / 3)


def test_batches_add_up_though_groups_come_apart():
    metric = RateGap()
    for group in (1, 0):
        metric.update_state(IDS[group == IDS], SCORES[group == IDS])
        if group:
            assert float(metric.result()) == 0
    assert float(metric.result()) == pytest.approx(gap(RateGap(), IDS, SCORES))


def test_more_groups_give_the_largest_with_its_sign():
    ids = np.repeat([0, 1, 2], 4)
    scores = np.array([1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0], "float32")
    # Rates .25, .5 and 0, against .25, .125 and .375 of the rest.
    metric = RateGap(groups=3)
    metric.update_state(ids, scores)
    figures = metric.figures(metric.sums)
    np.testing.assert_allclose(figures, [0.0, 0.375, -0.375], atol=1e-6)
    assert abs(float(metric.result())) == pytest.approx(0.375)
    # Weights decide what the rest is made of.
    weight = np.where(ids == 2, 3.0, 1.0)
    metric.reset_state()
    metric.update_state(ids, scores, weight)
    assert float(metric.result()) == pytest.approx(0.5 - 1 / 16)


def test_nan_is_no_decision():
    scores = SCORES.copy()
    scores[1] = np.nan
    assert np.isnan(gap(RateGap(), IDS, scores))
    # A row without weight is not heard, as in the losses.
    weight = np.where(np.arange(6) == 1, 0.0, WEIGHT)
    found = gap(RateGap(), IDS, scores, weight)
    assert found == pytest.approx(gap(RateGap(), IDS, SCORES, weight))


def test_infinite_logits_are_decisions():
    scores = np.where(SCORES > 0.5, np.inf, -np.inf)
    found = gap(RateGap(0.0), IDS, scores)
    assert found == pytest.approx(gap(RateGap(), IDS, SCORES))


def test_a_mask_and_a_transform():
    layer = keras.layers.Masking(mask_value=9.0)
    scores = np.stack([SCORES, np.full_like(SCORES, 9.0)], axis=1)
    assert gap(RateGap(), IDS, layer(scores)) == pytest.approx(
        gap(RateGap(), IDS, SCORES)
    )
    logits = np.log(SCORES / (1 - SCORES))
    metric = RateGap(predictions_transform="sigmoid")
    assert gap(metric, IDS, logits) == pytest.approx(
        gap(RateGap(), IDS, SCORES)
    )


def test_serialized_and_back():
    metric = RateGap(0.3, "mine", groups=4, predictions_transform="sigmoid")
    config = keras.saving.serialize_keras_object(metric)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == metric.get_config()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((IDS + 1, SCORES), "`membership`.*groups=2.*2"),
        ((IDS, SCORES, -WEIGHT), "`sample_weight`.*-1"),
        ((IDS[:4], SCORES), r"`membership`.*\(6,\).*\(4,\)"),
        ((IDS, SCORES, WEIGHT[:4]), "`sample_weight`"),
        ((IDS, np.repeat(SCORES, 2, 1)), "predictions_transform.*6, 2"),
    ],
)
def test_errors_leave_the_metric_as_it_was(batch, message):
    metric = RateGap()
    metric.update_state(IDS, SCORES)
    before = float(metric.result())
    with pytest.raises(ValueError, match=message):
        metric.update_state(*batch)
    assert float(metric.result()) == before
    with pytest.raises(ValueError, match=r"`groups`.*1"):
        RateGap(groups=1)
    # No decision is above NaN, and no gap would be seen.
    for threshold in (np.nan, "gap", None):
        with pytest.raises(ValueError, match=r"`threshold`.*finite"):
            RateGap(threshold)
