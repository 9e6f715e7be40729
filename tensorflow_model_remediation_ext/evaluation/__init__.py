"""Evidence: what a model does, by group, and how sure one can be of it."""

from tensorflow_model_remediation_ext.evaluation.flips import (
    FlipReport,
    FlipRow,
    flips,
)
from tensorflow_model_remediation_ext.evaluation.flips_of_model import (
    flips_of_model,
)
from tensorflow_model_remediation_ext.evaluation.group_metrics import (
    DisparityRow,
    GroupReport,
    GroupRow,
    group_metrics,
)
from tensorflow_model_remediation_ext.evaluation.intervals import (
    Estimate,
    wilson_interval,
)
from tensorflow_model_remediation_ext.evaluation.performance import (
    accuracy,
    auc,
)
from tensorflow_model_remediation_ext.evaluation.permutation_importance import (
    ImportanceReport,
    ImportanceRow,
    permutation_importance,
)
from tensorflow_model_remediation_ext.evaluation.probe_model import (
    probe_model,
)
from tensorflow_model_remediation_ext.evaluation.probes import (
    ProbeReport,
    ProbeRow,
    linear_probe,
)
from tensorflow_model_remediation_ext.evaluation.report.report import Report
from tensorflow_model_remediation_ext.evaluation.tradeoff import (
    Tradeoff,
    TradeoffMethod,
    TradeoffRow,
    tradeoff,
)

__all__ = [
    "DisparityRow",
    "Estimate",
    "FlipReport",
    "FlipRow",
    "GroupReport",
    "GroupRow",
    "ImportanceReport",
    "ImportanceRow",
    "ProbeReport",
    "ProbeRow",
    "Report",
    "Tradeoff",
    "TradeoffMethod",
    "TradeoffRow",
    "accuracy",
    "auc",
    "flips",
    "flips_of_model",
    "group_metrics",
    "linear_probe",
    "permutation_importance",
    "probe_model",
    "tradeoff",
    "wilson_interval",
]
