"""The rule that finds a weight, alone and in pairing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.common.layers import (
    acts_otherwise_in_training,
)
from tensorflow_model_remediation_ext.common.target import TargetKeeper
from tensorflow_model_remediation_ext.counterfactual.keras import (
    AtMost,
    CounterfactualModel,
    CounterfactualPackedInputs,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    CounterfactualGap,
    FlipCount,
    FlipRate,
)
from tensorflow_model_remediation_ext.counterfactual.losses import (
    PairwiseMSELoss,
)
from tensorflow_model_remediation_ext.min_diff.keras.metrics import RateGap

IDS = np.array([1] * 10 + [0] * 10)


def scores(one, other):
    """Ten rows of each group, of which so many are selected."""
    selected = [np.arange(10) < one, np.arange(10) < other]
    return np.concatenate(selected).astype("float32")


def keep(keeper, steps, one, other, target=0.1):
    @tf.function
    def step():
        return keeper.update([(IDS, scores(one, other), None)], target)[0]

    found = np.array([step() for _ in range(steps)])
    assert float(keeper.multiplier) == found[-1]
    return found


def test_below_the_target_the_weight_stays_zero():
    keeper = TargetKeeper(RateGap(), signed=True, name="a")
    assert not keeper.started
    assert (keep(keeper, 30, 5, 5) == 0).all()
    assert keeper.started
    assert float(keeper.running) == 0


def test_above_it_the_weight_grows_and_pulls_the_gap_back():
    keeper = TargetKeeper(RateGap(), signed=True, name="a")
    found = keep(keeper, 60, 3, 8)
    assert float(keeper.running) == pytest.approx(-0.5)
    assert (np.diff(found) < 0).all() and found[-1] < 0
    # The other way around, it is the other way around.
    other = keep(TargetKeeper(RateGap(), signed=True, name="b"), 60, 8, 3)
    np.testing.assert_allclose(other, -found, rtol=1e-5)
    # Without a sign there is a size.
    size = TargetKeeper(RateGap(), signed=False, name="c")
    np.testing.assert_allclose(keep(size, 60, 3, 8), -found, rtol=1e-5)
    # Met, the weight falls, to nothing if it stays so.
    falling = keep(keeper, 400, 5, 5)
    assert falling[-1] == 0


def test_growth_does_not_depend_on_how_far_off_it_is():
    a = keep(TargetKeeper(RateGap(), True, "a"), 50, 0, 9, target=0.3)
    b = keep(TargetKeeper(RateGap(), True, "b"), 50, 0, 9, target=0.01)
    np.testing.assert_allclose(a, b, rtol=1e-4)


def test_of_few_pairs_the_weight_learns_slowly():
    def weight(pairs, share, target):
        keeper = TargetKeeper(FlipRate(), signed=False, name="a")
        ones = np.ones(5 * pairs, "float32")
        other = np.arange(5 * pairs) >= share * 5 * pairs
        batches = np.reshape(other, (pairs, 5)).T.astype("float32")

        @tf.function
        def step(counterfactual):
            keeper.update([(ones[:pairs], counterfactual, None)], target)

        for k in range(150):
            step(tf.constant(batches[k % 5]))
        return float(keeper.multiplier)

    # One pair in 40 flips, more often than one in 200: of 8 pairs a step, that
    # are eight flips or less of the 160 to 320 that are counted.
    few, many = weight(8, 0.025, 0.005), weight(64, 0.025, 0.005)
    assert 1 < few < many / 3
    # If one in four flips, few pairs tell it.
    few, many = weight(8, 0.25, 0.005), weight(64, 0.25, 0.005)
    assert few == pytest.approx(many, rel=0.1)


def test_what_changes_late_in_a_run_is_followed_as_fast():
    def weight_after(steps):
        keeper = TargetKeeper(FlipRate(), signed=False, name="a")

        @tf.function
        def run(steps, other):
            for _ in tf.range(steps):
                keeper.update([(tf.ones(8), other, None)], 0.1)

        run(tf.constant(steps), tf.ones(8))
        assert float(keeper.multiplier) == 0
        run(tf.constant(500), tf.cast(tf.range(8) > 3, "float32"))
        return float(keeper.multiplier)

    early, late = weight_after(5_000), weight_after(10_000)
    assert late == pytest.approx(early, rel=0.01) and late > 0.2


def test_a_figure_that_may_be_chance_is_not_said_to_be_missed():
    # Gaps of .1 and, in the end, of about .15 over a few hundred rows.
    keeper = TargetKeeper(RateGap(), signed=True, name="a")
    keep(keeper, 10, 6, 5)
    keep(keeper, 5, 7, 5)
    assert 0.1 < float(keeper.running) < 0.2
    keeper.warn_of(0.1, "a")
    with pytest.warns(UserWarning, match=r"a was not met.*0\.01"):
        keeper.warn_of(0.01, "a")


def test_a_group_with_few_rows_does_not_hide_the_miss_of_another():
    ids = np.repeat([0, 1, 2], [100, 100, 2])
    selected = np.concatenate(
        [np.arange(100) < 60, np.arange(100) < 40, [True, False]]
    )
    keeper = TargetKeeper(RateGap(groups=3), signed=True, name="a")
    for _ in range(5):
        keeper.update([(ids, selected.astype("float32"), None)], 0.1)
    with pytest.warns(UserWarning, match=r"a was not met.* 0\.198"):
        keeper.warn_of(0.1, "a")


def test_a_gap_that_answers_fast_and_late_settles():
    # Many decisions near the threshold: little weight moves many of them, and
    # the optimizer's steps are as long however hard it is pulled.
    keeper = TargetKeeper(RateGap(), signed=True, name="a")
    ids = np.array([1, 1, 0, 0])
    decided = np.array([1.0, 0.0, 1.0, 0.0], "float32")

    @tf.function
    def train(steps):
        gap, found = tf.constant(0.25), tf.TensorArray(tf.float32, steps)
        for step in tf.range(steps):
            rates = tf.stack([0.5 + gap / 2, 0.5 - gap / 2])
            weight = 64 * tf.reshape(tf.stack([rates, 1 - rates], 1), [-1])
            multiplier, _ = keeper.update([(ids, decided, weight)], 0.02)
            pull = tf.tanh((multiplier - (0.25 - gap) / 2.5) / 0.02)
            decay = 0.5 + 0.5 * tf.cos(np.pi * tf.cast(step, "float32") / 800)
            gap = tf.clip_by_value(gap - 0.002 * decay * pull, -0.9, 0.9)
            found = found.write(step, gap)
        return found.stack()

    gaps = train(800).numpy()
    assert np.abs(gaps[400:600] - 0.02).max() < 0.025


def test_a_weight_of_late_is_no_target_that_asks_for_nothing():
    keeper = TargetKeeper(RateGap(), signed=True, name="a")
    keep(keeper, 60, 3, 8)
    keep(keeper, 240, 5, 5)
    assert float(keeper.multiplier) == 0
    keeper.warn_of(0.1, "a")
    keep(keeper, 400, 5, 5)
    with pytest.warns(UserWarning, match="a asks for nothing"):
        keeper.warn_of(0.1, "a")


@pytest.mark.parametrize("metric", [RateGap, FlipRate])
@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_scale_of_weights_makes_no_difference(metric, scale):
    weights = np.linspace(0.5, 2.0, 20, dtype="float32")
    # Two decisions of ten differ; of pairs, one in ten.
    rows = {
        RateGap: (IDS, scores(7, 5)),
        FlipRate: (scores(7, 5), scores(7, 3)),
    }[metric]
    found = []
    for name, each in (("a", 1.0), ("b", scale)):
        keeper = TargetKeeper(metric(), signed=metric is RateGap, name=name)
        for _ in range(30):
            keeper.update([(*rows, weights * each)], 0.1)
        with pytest.warns(UserWarning, match="was not met"):
            keeper.warn_of(0.02, "a")
        found.append((float(keeper.multiplier), float(keeper.running)))
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("metric", [RateGap, FlipRate])
def test_equal_weights_are_as_exact_as_rows(metric):
    one = np.repeat([1.0, 0.0, 1.0], [6, 4, 10]).astype("float32")
    other = np.repeat([1.0, 0.0], [9, 11]).astype("float32")
    first = IDS if metric is RateGap else one
    found = [
        metric().standard_errors(metric().counts(first, other, weight))
        for weight in (None, np.full(20, 5.0, "float32"))
    ]
    np.testing.assert_allclose(*found, rtol=1e-5)
    if metric is RateGap:
        # Nine of ten, and none of ten.
        assert float(found[0][0]) == pytest.approx((0.9 * 0.1 / 10) ** 0.5)
    # Rows without weight are none.
    half = (np.arange(20) % 10 < 5).astype("float32")
    fewer = metric().standard_errors(metric().counts(first, other, half))
    kept = half > 0
    alone = metric().counts(first[kept], other[kept])
    np.testing.assert_allclose(
        fewer, metric().standard_errors(alone), rtol=1e-5
    )


def test_counts_that_are_not_numbers_change_nothing():
    keeper = TargetKeeper(RateGap(), signed=True, name="a")
    keep(keeper, 5, 3, 8)
    before = [v.numpy() for v in keeper.variables]
    keeper.update([(IDS, scores(3, 8) * np.nan, None)], 0.1)
    for old, new in zip(before, keeper.variables, strict=True):
        if new.name != "lost":
            np.testing.assert_array_equal(old, new.numpy())
    with pytest.warns(UserWarning, match=r"In 1 of 6 steps.* of a .*NaN"):
        keeper.warn_of(1.0, "a")


def test_nothing_is_said_of_a_figure_that_was_never_read():
    keeper = TargetKeeper(FlipRate(), signed=False, name="a")
    for _ in range(5):
        keeper.update([(scores(3, 8) * np.nan, scores(3, 8), None)], 0.1)
    with pytest.warns(UserWarning, match="5 of 5 steps") as warned:
        keeper.warn_of(0.1, "a")
    told = [str(each.message) for each in warned]
    assert not any("asks for nothing" in message for message in told)


def test_graph_and_xla_agree_with_eager():
    eager = TargetKeeper(RateGap(), signed=True, name="a")
    for _ in range(20):
        eager.update([(IDS, scores(2, 6), None)], 0.1)
    expected = float(eager.multiplier)
    for jit in (False, True):
        keeper = TargetKeeper(RateGap(), signed=True, name=f"b{jit}")
        step = tf.function(
            lambda p, keeper=keeper: keeper.update(
                [(tf.constant(IDS), p, None)], 0.1
            ),
            jit_compile=jit,
        )
        for _ in range(20):
            step(tf.constant(scores(2, 6)))
        assert float(keeper.multiplier) == pytest.approx(expected, rel=1e-5)


def paired(seed=0):
    """Pairs in which one column is taken out that tells much."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(640, 3)).astype("float32")
    y = (x[:, :1] + 1.5 * x[:, 1:2] + rng.normal(size=(640, 1)) > 0).astype(
        "float32"
    )
    other = x * np.array([1, 0, 1], "float32")
    packed = tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs((x, y), (x, other, np.ones(640, "float32")))
    )
    return x, other, packed.batch(32)


def pairing(target, **options):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(1, "sigmoid")]
    )
    model = CounterfactualModel(network, loss_weight=target, **options)
    rate = keras.optimizers.schedules.CosineDecay(0.05, 600)
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    return model


FIT = {"verbose": 0, "shuffle": False}


@pytest.mark.parametrize(
    ("target", "metric"), [(0.05, FlipRate()), (0.03, CounterfactualGap())]
)
def test_pairs_keep_to_a_target(target, metric):
    x, other, packed = paired()
    model = pairing(AtMost(target, metric))
    history = model.fit(packed.repeat(30), **FIT).history
    metric.reset_state()
    metric.update_state(model(x), model(other))
    assert 0.5 * target < float(metric.result()) <= target
    assert history["counterfactual_multiplier"][-1] > 0
    assert history["counterfactual_running"][-1] <= target


def test_flips_of_logits_are_decisions_at_zero():
    x, other, packed = paired()
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    loss = PairwiseMSELoss(transform="sigmoid")
    model = CounterfactualModel(network, loss, AtMost(0.05))
    rate = keras.optimizers.schedules.CosineDecay(0.05, 600)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    model.fit(packed.repeat(30), **FIT)
    flips = FlipRate(threshold=0.0)
    flips.update_state(model(x), model(other))
    assert 0.025 < float(flips.result()) <= 0.05


@pytest.mark.parametrize(
    "noisy",
    [keras.layers.Dropout(0.8, seed=0), keras.layers.BatchNormalization()],
    ids=["dropout", "moving averages"],
)
@pytest.mark.filterwarnings("ignore:The target of counterfactual asks for")
def test_decisions_count_as_they_will_be_made(noisy):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype("float32")
    other = x + rng.normal(size=x.shape).astype("float32")
    y = np.ones((64, 1), "float32")
    model = keras.Sequential(
        [keras.Input((6,)), noisy, keras.layers.Dense(1, "sigmoid")]
    )
    data = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((x, y), (x, other, np.ones(64)))
    )
    paired = CounterfactualModel(model, loss_weight=AtMost(0.5))
    # The model stays as it is, so that its decisions do, too.
    paired.compile(keras.optimizers.SGD(0.0), "mse")
    history = paired.fit(data, verbose=0, shuffle=False).history
    will_flip = np.mean(
        np.not_equal(*(model.predict(v, verbose=0) > 0.5 for v in (x, other)))
    )
    assert history["counterfactual_running"][0] == pytest.approx(will_flip)


# After three epochs of twenty steps it is not met yet.
@pytest.mark.filterwarnings("ignore:The target of counterfactual was not met")
def test_a_target_is_saved_and_trained_on(tmp_path):
    x, _, packed = paired()
    model = pairing(AtMost(0.05))
    model.fit(packed, epochs=2, **FIT)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert repr(loaded.loss_weight) == "AtMost(0.05)"
    for each in (model, loaded):
        each.fit(packed, epochs=1, **FIT)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model.original_model.save(tmp_path / "served.keras")
    served = keras.models.load_model(tmp_path / "served.keras")
    np.testing.assert_allclose(
        served.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6
    )


@pytest.mark.parametrize("metric", [FlipCount(), RateGap(), "flip_rate"])
def test_other_metrics_are_refused(metric):
    with pytest.raises(TypeError, match=r"FlipRate or CounterfactualGap.*Rec"):
        pairing(AtMost(0.1, metric))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Dropout(0.1), True),
        (keras.layers.BatchNormalization(), True),
        (keras.layers.Normalization(mean=0.0, variance=1.0), False),
        (keras.layers.Dropout(0.0), False),
    ],
)
def test_only_models_that_act_otherwise_in_training_run_twice(layer, expected):
    nested = keras.Sequential([keras.Input((6,)), layer])
    model = keras.Sequential([keras.Input((6,)), nested, keras.layers.Dense(1)])
    assert acts_otherwise_in_training(model) == expected
