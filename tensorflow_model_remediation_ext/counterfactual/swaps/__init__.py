"""Ready-made swaps of terms, and how to read one's own."""

from tensorflow_model_remediation_ext.counterfactual.swaps.swaps import (
    Swaps,
    from_csv,
    from_json,
    load,
    names,
)

__all__ = ["Swaps", "from_csv", "from_json", "load", "names"]
