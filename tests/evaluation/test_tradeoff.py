import functools
import json
import math

import keras
import numpy as np
import pytest
from scipy import stats

from tensorflow_model_remediation_ext.evaluation import (
    Estimate,
    TradeoffMethod,
    tradeoff,
)

X = np.ones((2, 1), "float32")
# What a weight buys: quality falls slowly, then fast; flips fall and rise.
FIGURES = {
    0.0: (0.90, 0.30),
    0.5: (0.895, 0.20),
    1.0: (0.89, 0.10),
    2.0: (0.88, 0.15),
    5.0: (0.60, 0.02),
}


def build_model(loss_weight):
    # All the training there is: its outputs shrink.
    layer = keras.layers.Dense(1, activity_regularizer="l2")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile("sgd", run_eagerly=True)
    model.loss_weight = loss_weight
    return model


class Measure:
    """Looks figures up, and knows which weights it was asked about."""

    def __init__(self):
        self.asked = []
        self.fail_at = None

    def __call__(self, model):
        assert int(model.optimizer.iterations) > 0  # It was trained.
        self.asked.append(model.loss_weight)
        if len(self.asked) == self.fail_at:
            raise KeyboardInterrupt
        quality, rate = FIGURES[model.loss_weight]
        quality += 0.01 * np.random.rand()  # Depends on the seed alone.
        return (
            Estimate(quality, quality - 0.02, quality + 0.01),
            Estimate(rate, rate - 0.02, rate + 0.03),
        )


@pytest.fixture
def measure():
    return Measure()


def sweep(measure, weights=(1, 0.5, 5, 2), **options):
    options = {"verbose": False, **options}
    build = options.pop("build_model", build_model)
    data = options.pop("data", X)
    return tradeoff(build, data, weights, measure=measure, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory that holds all figures of a sweep."""
    directory = tmp_path_factory.mktemp("sweep")
    sweep(Measure(), directory=directory)
    return directory


def test_rows_front_and_choice(trained):
    result = sweep(Measure(), directory=trained, max_quality_loss=0.011)
    assert [row.loss_weight for row in result.rows] == [0, 0.5, 1, 2, 5]
    # 2 is worse than 1 in both; 5 flips least but loses 0.3.
    assert [r.pareto for r in result.rows] == [True, True, True, False, True]
    assert result.chosen is result[1.0]
    assert result[1.0].flip_rate == pytest.approx((0.10, 0.08, 0.13))
    assert result[1.0].quality_loss.value == pytest.approx(0.01)
    # One seed says nothing about training.
    assert math.isnan(result[1.0].quality_loss.low)


@pytest.mark.parametrize(("limit", "weight"), [(0, 0), (0.006, 0.5), (0.31, 5)])
def test_the_limit_decides(trained, limit, weight):
    measure = Measure()
    result = sweep(measure, directory=trained, max_quality_loss=limit)
    assert result.chosen.loss_weight == weight
    assert measure.asked == []


def test_seeds_are_paired_and_their_spread_counts(measure):
    result = sweep(measure, [1], seeds=range(4))
    plain, row = result.rows
    assert row.seeds == 4
    noise = []
    for seed in range(4):
        keras.utils.set_random_seed(seed)
        build_model(1.0)
        noise.append(0.01 * np.random.rand())
    spread = stats.t.ppf(0.975, 3) * np.std(noise, ddof=1) / 2
    assert row.quality.value == pytest.approx(0.89 + np.mean(noise))
    assert row.quality.value - row.quality.low == pytest.approx(
        math.hypot(0.02, spread)
    )
    assert row.quality.high - row.quality.value == pytest.approx(
        math.hypot(0.01, spread)
    )
    # The noise of a seed is in both models, and drops out of the difference.
    # Seeds that agree do not make it certain.
    assert row.quality_loss.value == pytest.approx(0.01)
    assert plain.quality_loss.value == 0
    assert np.isnan([*row.quality_loss[1:], *plain.quality_loss[1:]]).all()


def test_plain_numbers_have_the_interval_of_the_seeds():
    def measure(model):
        return np.float32(0.9 - 0.1 * model.loss_weight), np.random.rand()

    alone = sweep(measure, [1])[1.0]
    assert np.isnan(alone.quality[1:]).all()
    several = sweep(measure, [1], seeds=(3, 4))[1.0]
    assert several.quality.value == pytest.approx(0.8)
    assert np.isnan(several.quality[1:]).all()
    assert several.flip_rate.low < several.flip_rate.value


def test_shares_stay_within_their_bounds():
    values = iter([(0.52, 0.10), (0.53, 0.09), (0.50, 0.02), (0.55, 0.05)])
    result = sweep(lambda model: next(values), [1], seeds=(0, 1))
    for row in result.rows:
        for estimate in (row.quality, row.flip_rate):
            assert 0 <= estimate.low < estimate.value < estimate.high <= 1
    half = stats.t.ppf(0.975, 1) * np.std([0.50, 0.55], ddof=1) / 2**0.5
    assert result[1.0].quality.low == pytest.approx(0.525 - half)
    axes = result.plot()
    axes.figure.canvas.draw()
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim()[0] >= 0 and axes.get_ylim()[1] <= 1


def test_a_quality_that_is_no_share_keeps_its_interval():
    values = iter([(-3.0, 0.2), (-2.5, 0.1), (-3.1, 0.0), (-3.5, 0.2)])
    result = sweep(lambda model: next(values), [1], seeds=(0, 1))
    assert result[0.0].quality.high > 0
    assert result[0.0].quality_loss.value == 0
    assert result[1.0].quality_loss.low < -1
    assert result[1.0].flip_rate.low == 0


def test_an_interrupted_sweep_is_taken_up(measure, tmp_path):
    options = {"seeds": (0, 1), "directory": tmp_path / "sweep"}
    measure.fail_at = 4
    with pytest.raises(KeyboardInterrupt):
        sweep(measure, [1, 2], **options)
    assert measure.asked == [0, 0, 1, 1]
    assert len(list((tmp_path / "sweep").iterdir())) == 1 + 3
    measure.fail_at = None
    resumed = sweep(measure, [1, 2], **options)
    assert measure.asked == [0, 0, 1, 1] + [1, 2, 2]
    assert repr(resumed) == repr(sweep(Measure(), [1, 2], seeds=(0, 1)))
    more = sweep(measure, [1, 2, 5], **options)
    assert measure.asked[7:] == [5, 5]
    assert more[2.0].quality == resumed[2.0].quality


def other_model(loss_weight):
    return build_model(loss_weight)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"epochs": 2}, "fit"),
        ({"fit_options": {"shuffle": False}}, "fit"),
        ({"configuration": {"width": 16}}, "given"),
        ({"confidence": 0.9}, "level"),
        ({"build_model": other_model}, "sources"),
    ],
)
def test_another_configuration_is_refused(measure, tmp_path, change, what):
    options = {"directory": tmp_path, "configuration": {"width": (8,)}}
    sweep(measure, [1], **options)
    sweep(measure, [1], **options)
    with pytest.raises(ValueError, match=f"another configuration.*{what}"):
        sweep(measure, [1], **{**options, **change})
    assert measure.asked == [0, 1]


def test_a_damaged_file_is_named(measure, tmp_path):
    sweep(measure, [1], directory=tmp_path)
    (file,) = tmp_path.glob("loss_weight=1.0*")
    file.write_text("{")
    with pytest.raises(ValueError, match=r"loss_weight=1\.0.*must hold JSON"):
        sweep(measure, [1], directory=tmp_path)


def test_prints_converts_and_plots(trained):
    result = sweep(Measure(), directory=trained, max_quality_loss=0.011)
    lines = repr(result).splitlines()
    assert lines[0].split() == [
        "name",
        "seeds",
        "quality",
        "unfairness",
        "quality_loss",
        "pareto",
        "chosen",
    ]
    assert len(lines) == 7
    assert json.loads(json.dumps(result.to_dict()))["5.0"]["unfairness"] == 0.02
    frame = result.to_frame()
    assert list(frame.index[frame["chosen"]]) == [1.0]
    axes = result.plot()
    assert {text.get_text() for text in axes.texts} == {
        "0",
        "0.5",
        "1",
        "2",
        "5",
    }
    front = axes.get_lines()[0].get_xdata()
    assert sorted(front) == [0.02, 0.1, 0.2, 0.3]
    assert result.plot(axes) is axes


def test_progress_is_a_bar_or_nothing(measure, capsys):
    sweep(measure, [1])
    assert capsys.readouterr().out == ""
    for verbose in (True, "auto"):
        sweep(measure, [1], verbose=verbose)
        assert "2/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": []}, ValueError, "`loss_weights`"),
        ({"weights": [-1]}, ValueError, "`loss_weights`"),
        ({"weights": [float("nan")]}, ValueError, "`loss_weights`"),
        ({"weights": "01"}, ValueError, "`loss_weights`"),
        ({"epochs": 0}, ValueError, "`epochs` must be"),
        ({"epochs": "2"}, ValueError, "`epochs` must be"),
        ({"seeds": ()}, ValueError, "`seeds`"),
        ({"data": (x for x in [X])}, TypeError, "`data`.*again.*generator"),
        ({"data": iter([X])}, TypeError, "`data`.*again.*list_iterator"),
        ({"seeds": (1, 1)}, ValueError, "`seeds`"),
        ({"seeds": 3}, ValueError, "`seeds`.*Received: seeds=3"),
        ({"seeds": (0.5,)}, ValueError, "`seeds`"),
        ({"confidence": 95}, ValueError, "`confidence`"),
        ({"max_quality_loss": -0.1}, ValueError, "`max_quality_loss`"),
        ({"max_quality_loss": "a"}, ValueError, "`max_quality_loss`.*'a'"),
        ({"build_model": lambda w: None}, TypeError, "`build`.*None"),
        (
            {"build_model": lambda w: keras.Sequential()},
            TypeError,
            "`build`.*compiled",
        ),
        (
            {"measure": lambda m: (0.5, -0.1)},
            ValueError,
            "unfairness of 0 or larger.*-0.1",
        ),
        ({"measure": lambda m: 0.5}, TypeError, "`measure`.*0.5"),
        ({"measure": lambda m: (0.5, "a")}, TypeError, "`measure`"),
        (
            {"measure": lambda m: (0.5, float("nan"))},
            ValueError,
            "`measure`.*unfairness nan at loss_weight=0.0,seed=0",
        ),
        (
            {"directory": "nowhere", "configuration": {1, 2}},
            ValueError,
            "`configuration`.*JSON",
        ),
    ],
)
def test_errors(measure, options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        sweep(**{"measure": measure, **options})
    assert not list(tmp_path.iterdir())


# Several methods.


def ready():
    """What is ready to be measured: no Keras model at all."""
    return "post-processed"


def with_target(target):
    return build_model(10 * target)


def any_measure(built):
    if built == "post-processed":
        return 0.88, 0.01
    return 0.9 - 0.01 * built.loss_weight, 0.3 - 0.25 * built.loss_weight


def compare(methods=None, **options):
    methods = methods or {
        "plain": TradeoffMethod(lambda: build_model(0.0), data=X),
        "at most": TradeoffMethod(with_target, [0.05, 0.1], X),
        "thresholds": ready,
    }
    return tradeoff(
        methods,
        measure=options.pop("measure", any_measure),
        measure_of_unfairness="gap of rates",
        verbose=False,
        **options,
    )


def test_any_number_of_named_methods():
    result = compare(max_quality_loss=0.015)
    names = ["plain", "at most 0.05", "at most 0.1", "thresholds"]
    assert [row.name for row in result.rows] == names
    assert [row.setting for row in result.rows] == [None, 0.05, 0.1, None]
    assert [row.method for row in result.rows][1:3] == ["at most"] * 2
    assert result["at most 0.1"].quality_loss.value == pytest.approx(0.01)
    # The thresholds are the least unfair, and cost more than is allowed.
    assert result.chosen.name == "at most 0.1"
    assert all(row.pareto for row in result.rows)
    axes = result.plot()
    assert axes.get_xlabel().startswith("gap of rates")
    labels = axes.get_legend_handles_labels()[1]
    assert {"plain", "at most", "thresholds", "chosen"} <= set(labels)
    assert {text.get_text() for text in axes.texts} == {"0.05", "0.1"}


def test_numpy_settings_and_seeds_are_as_plain_ones(tmp_path):
    def swept(settings, seeds):
        methods = {"a": TradeoffMethod(lambda setting: setting, settings)}
        return compare(
            methods,
            measure=lambda setting: (0.5, float(setting)),
            directory=tmp_path,
            seeds=seeds,
        )

    plain = swept([1, 2], (0, 1)).to_dict()
    files = sorted(tmp_path.iterdir())
    again = swept(np.array([1, 2]), np.arange(2)).to_dict()
    assert json.dumps(again) == json.dumps(plain)
    # What was kept was found again.
    assert sorted(tmp_path.iterdir()) == files


def test_more_methods_are_added_to_a_directory(tmp_path):
    calls = []

    def counting(setting):
        calls.append(setting)
        return build_model(setting)

    plain = TradeoffMethod(counting, [0.0], X)
    compare({"a": plain}, directory=tmp_path)
    both = {"a": plain, "b/c": TradeoffMethod(counting, [1.0], X)}
    result = compare(both, directory=tmp_path, seeds=(0, 1))
    assert calls == [0.0, 0.0, 1.0, 1.0]
    assert [row.seeds for row in result.rows] == [2, 2]

    def counting(setting):
        # Another source: what it built before does not count.
        return build_model(0.5)

    other = {"a": TradeoffMethod(counting, [0.0], X)}
    result = compare(other, directory=tmp_path)
    assert result.rows[0].unfairness.value == pytest.approx(0.3 - 0.125)


def test_a_directory_tells_names_and_arguments_apart(tmp_path):
    def built(weight):
        return build_model(weight)

    def of(weights):
        return {
            name: TradeoffMethod(functools.partial(built, weight), data=X)
            for name, weight in zip(
                ("gap < 1", "gap > 1"), weights, strict=True
            )
        }

    for weights in ((0.0, 1.0), (1.0, 0.5)):
        result = compare(of(weights), directory=tmp_path)
        found = [row.unfairness.value for row in result.rows]
        expected = [0.3 - 0.25 * weight for weight in weights]
        assert found == pytest.approx(expected)
    # What is there already is not computed again.
    files = sorted(tmp_path.glob("method=*"))
    compare(of((0.0, 1.0)), directory=tmp_path)
    assert sorted(tmp_path.glob("method=*")) == files


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": {"a": 3}}, ValueError, "TradeoffMethods.*3.*'a'"),
        (
            {"methods": {"a": TradeoffMethod(ready, [])}},
            ValueError,
            "`settings` of 'a'",
        ),
        (
            {"methods": {"a": TradeoffMethod(ready, [1, 1])}},
            ValueError,
            "`settings` of 'a'",
        ),
        (
            {"methods": {"a": TradeoffMethod(ready, data=iter([X]))}},
            TypeError,
            "data of 'a'.*again",
        ),
        (
            {"methods": {"a": TradeoffMethod(ready, data=X)}},
            TypeError,
            "`build`.*compiled.*'a'",
        ),
        ({"data": X}, ValueError, "`data`.*no meaning"),
    ],
)
def test_errors_of_methods(options, error, message):
    with pytest.raises(error, match=message):
        compare(**options)
    with pytest.raises(ValueError, match="`methods`"):
        tradeoff({}, measure=any_measure)
    with pytest.raises(ValueError, match="`data` and `loss_weights`"):
        tradeoff(build_model, measure=any_measure)
