"""Every public name can be imported from every path that users were promised.

A path is promised by the documentation of this version, or because the
predecessors' users know it.
"""

import importlib

import pytest

import tensorflow_model_remediation_ext

PACKAGE = tensorflow_model_remediation_ext.__name__
PATHS = {
    "counterfactual": "describe_pairs keras label_terms losses swaps",
    "counterfactual.swaps": "Swaps from_csv from_json load names",
    "counterfactual.keras": (
        "AtMost CounterfactualModel CounterfactualPackedInputs PairwiseMSELoss "
        "build_counterfactual_data pack_counterfactual_data metrics models "
        "utils"
    ),
    "counterfactual.keras.models": "CounterfactualModel",
    "counterfactual.keras.utils": (
        "CounterfactualPackedInputs build_counterfactual_data "
        "pack_counterfactual_data validate_counterfactual_structure "
        "map_inputs embed_inputs"
    ),
    "counterfactual.keras.metrics": "FlipRate FlipCount CounterfactualGap",
    "counterfactual.losses": (
        "CounterfactualLoss PairwiseMSELoss PairwiseAbsoluteDifferenceLoss "
        "PairwiseCosineLoss get"
    ),
    "leace.keras": (
        "LeaceEraser LeaceFitter LeaceLayer OracleEraser OracleFitter "
        "QuadraticEditor QuadraticEraser QuadraticFitter SoftQuadraticEditor "
        "SoftQuadraticEraser SoftQuadraticFitter SoftQuadraticLayer "
        "covariance_eraser mmd_eraser optimal_linear_shrinkage "
        "optimal_transport random_scrub scrub"
    ),
    "leace.keras.optimal_transport": (
        "ot_barycenter ot_distance ot_map ot_midpoint"
    ),
    "min_diff.keras": (
        "AtMost MinDiffModel MinDiffPackedInputs build_min_diff_dataset "
        "pack_min_diff_data metrics models utils"
    ),
    "min_diff.keras.models": "MinDiffModel",
    "min_diff.keras.utils": (
        "MinDiffPackedInputs build_min_diff_dataset embed_inputs map_inputs "
        "pack_min_diff_data unpack_min_diff_data unpack_original_inputs "
        "validate_min_diff_structure"
    ),
    "min_diff.keras.metrics": "RateGap",
    "min_diff.losses": (
        "AbsoluteCorrelationLoss AdjustedMMDLoss GaussianKernel "
        "LaplacianKernel MMDLoss MinDiffKernel MinDiffLoss RateGapLoss get"
    ),
    "evaluation": (
        "BinRow CalibrationReport CalibrationRow ClassReport ClassRow "
        "DisparityRow ErrorRow Estimate Evidence ExampleRow FlipReport "
        "FlipRow FlowRow GeneralizedMeanRow GroupErrorReport GroupReport "
        "GroupRow ImportanceReport ImportanceRow LeakageReport LeakageRow "
        "ProbeReport ProbeRow READERS Reading Report SubgroupReport "
        "SubgroupRow TermReport Tradeoff TradeoffMethod TradeoffRow WorstRow "
        "accuracy auc "
        "flips flips_of_model group_metrics leakage linear_probe "
        "permutation_importance probe_model tradeoff wilson_interval"
    ),
    "datasets": (
        "load_civil_comments load_csv load_embedded_comments load_terms "
        "stream_civil_comments"
    ),
}
# They need an extra, or bring one along.
OPTIONAL = {
    "leace.beam": ("apache_beam", "FitLeace"),
    "leace.sklearn": ("sklearn", "LeaceTransformer"),
    "evaluation.tfma": (
        "tensorflow_model_analysis",
        "EvaluateFlips FlipAnalysis analyze_flips load_flips",
    ),
    # The configurations of version 0.1.0 name this module.
    "evaluation.tfma_metrics": (
        "tensorflow_model_analysis",
        "CounterfactualPairs",
    ),
}


def check(path, names):
    module = importlib.import_module(f"{PACKAGE}.{path}")
    missing = [name for name in names.split() if not hasattr(module, name)]
    assert not missing, f"{path} lacks {missing}"


@pytest.mark.parametrize("path", PATHS)
def test_names_are_where_users_import_them(path):
    check(path, PATHS[path])


@pytest.mark.parametrize("path", OPTIONAL)
def test_names_that_need_an_extra(path):
    needs, names = OPTIONAL[path]
    pytest.importorskip(needs)
    check(path, names)


def test_one_name_is_one_object():
    keras = importlib.import_module(f"{PACKAGE}.counterfactual.keras")
    losses = importlib.import_module(f"{PACKAGE}.counterfactual.losses")
    assert keras.PairwiseMSELoss is losses.PairwiseMSELoss
    assert keras.models.CounterfactualModel is keras.CounterfactualModel
    min_diff = importlib.import_module(f"{PACKAGE}.min_diff.keras")
    assert min_diff.AtMost is keras.AtMost
    assert min_diff.models.MinDiffModel is min_diff.MinDiffModel
