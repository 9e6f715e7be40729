"""Which outputs a penalty is about."""

import numpy as np
import pytest

from tensorflow_model_remediation_ext.common.outputs import (
    checked_outputs,
    select_outputs,
)

A, B, C = (np.full((2, 1), value, "float32") for value in (1, 2, 3))
LOSS = "mse"


@pytest.mark.parametrize(
    ("predictions", "names", "loss", "selected"),
    [
        (A, ["a"], LOSS, {"a": A}),
        (A, None, LOSS, {"0": A}),
        (A, ["a"], [LOSS, "mae"], {"a": A}),
        ([A, B], ["a", "b"], LOSS, {"a": A, "b": B}),
        ([A, B], ["a", "b"], [None, LOSS], {"b": B}),
        ((A, B), None, (LOSS, None), {"0": A}),
        # Outputs of one layer have one name: positions tell them apart.
        ([A, B], ["a", "a"], LOSS, {"0": A, "1": B}),
        ({"b": B, "a": A}, None, {"a": LOSS}, {"a": A}),
        ({"b": B, "a": A}, None, [None, LOSS], {"b": B}),
        (
            {"x": {"a": A, "b": B}, "c": [C]},
            None,
            {"x": {"b": LOSS}},
            {"x/b": B},
        ),
        ([[A], B], ["a", "b"], [[None], LOSS], {"b": B}),
    ],
    ids=str,
)
def test_by_loss(predictions, names, loss, selected):
    found = select_outputs(predictions, names, loss)
    assert list(found) == list(selected)
    assert all(found[name] is selected[name] for name in selected)


def test_by_name_and_position():
    nested = {"x": {"a": A, "b": B}, "c": [C]}
    for outputs in (["x/a"], [1], [-2]):
        found = select_outputs(nested, None, None, outputs)
        assert list(found) == ["x/a"]
    for wrong in ([3], [-4], ["a"]):
        with pytest.raises(ValueError, match="'c/0', 'x/a', 'x/b'"):
            select_outputs(nested, None, None, wrong)


@pytest.mark.parametrize("loss", [None, [None, None], {"a": None}])
def test_no_loss_at_all(loss):
    with pytest.raises(ValueError, match="`outputs` must say which"):
        select_outputs([A, B], ["a", "b"], loss)


def test_checked_outputs():
    assert checked_outputs(None) is None
    assert checked_outputs("a") == ["a"]
    assert checked_outputs(("a", 1)) == ["a", 1]
    for wrong in ([], [None], 2.0, True, [True]):
        with pytest.raises(ValueError, match="`outputs` must be the name"):
            checked_outputs(wrong)
