"""A report, which is read as text and opened in a browser."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.evaluation import (
    Estimate,
    Report,
    Tradeoff,
    TradeoffRow,
    accuracy,
    flips,
    linear_probe,
)


@pytest.fixture(scope="session")
def nasty():
    """A name that must be escaped."""
    return "a < b & \"c\" </script><script>alert('x')</script>"


@pytest.fixture(scope="session")
def sweep():
    """A trade-off over three weights."""
    rows = tuple(
        TradeoffRow(
            name=weight,
            method="",
            setting=weight,
            seeds=1,
            quality=Estimate(quality, quality - 0.01, quality + 0.01),
            unfairness=Estimate(rate, rate - 0.001, rate + 0.02),
            quality_loss=Estimate(0.0, float("nan"), float("nan")),
            pareto=True,
            chosen=weight == 1,
        )
        for weight, quality, rate in (
            (0.0, 0.9, 0.3),
            (1.0, 0.89, 0.1),
            (10.0, 0.7, 0.01),
        )
    )
    return Tradeoff(rows, 0.95, 0.01)


@pytest.fixture(scope="session")
def report(sweep, nasty):
    """Results of every form."""
    rng = np.random.default_rng(0)
    n = 120
    labels = rng.integers(0, 2, n)
    groups = {
        nasty: rng.random(n) < 0.5,
        "10": rng.random(n) < 0.2,
        "9": rng.random(n) < 0.7,
        "nobody": np.zeros(n, bool),
    }
    result = Report(f"Before and after {nasty}", f"Of {nasty}")
    for model, noise in (("baseline", 0.3), ("remediated", 0.05)):
        before = rng.random(n)
        after = np.clip(before + rng.normal(0, noise, n), 0, 1)
        result.add(model, "accuracy", accuracy(labels, before))
        found = flips(before, after, groups=groups, seed=0)
        result.add(model, "Flips", found, f"Here: {nasty}")
    result.add("baseline", "parameters", 1_234)
    x = rng.normal(size=(n, 3))
    for model in ("baseline", "erased"):
        result.add(model, f"Probe {nasty}", linear_probe(x, labels))
    result.add("remediated", "Trade-off", sweep)
    return result


@pytest.fixture(scope="session")
def saved(report, tmp_path_factory):
    """The page of that report."""
    return report.save(tmp_path_factory.mktemp("report") / "evidence")
