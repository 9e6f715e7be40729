"""Tests of the helpers under their public names."""

import pytest

from tensorflow_model_remediation_ext.counterfactual.keras import utils


def test_valid_structures():
    for struct in (1.0, None, (1, 2), {"a": 1.0, "b": (1,)}):
        utils.validate_counterfactual_structure(struct)
    utils.validate_counterfactual_structure({"a": 1.0}, element_type=float)


@pytest.mark.parametrize(
    ("struct", "element_type", "error"),
    [
        ([1], None, TypeError),
        ("a", float, TypeError),
        ({1: 1.0}, None, ValueError),
        ({"a": {"b": 1.0}}, None, ValueError),
        ({"a": "b"}, float, ValueError),
        (1.0, 1.0, TypeError),
    ],
)
def test_invalid_structures(struct, element_type, error):
    with pytest.raises(error, match=r"weights|element_type"):
        utils.validate_counterfactual_structure(struct, "weights", element_type)
