"""Evidence: what a model does, by group, and how sure one can be of it."""

from tensorflow_model_remediation_ext.evaluation.flip_report import (
    FlipReport,
    FlipRow,
)
from tensorflow_model_remediation_ext.evaluation.flips import flips
from tensorflow_model_remediation_ext.evaluation.flips_of_model import (
    flips_of_model,
)
from tensorflow_model_remediation_ext.evaluation.group_metrics import (
    group_metrics,
)
from tensorflow_model_remediation_ext.evaluation.group_report import (
    DisparityRow,
    GroupReport,
    GroupRow,
)
from tensorflow_model_remediation_ext.evaluation.importance_report import (
    ImportanceReport,
    ImportanceRow,
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
    permutation_importance,
)
from tensorflow_model_remediation_ext.evaluation.probe_model import (
    probe_model,
)
from tensorflow_model_remediation_ext.evaluation.probe_report import (
    ProbeReport,
    ProbeRow,
)
from tensorflow_model_remediation_ext.evaluation.probes import linear_probe
from tensorflow_model_remediation_ext.evaluation.report import Report
from tensorflow_model_remediation_ext.evaluation.tradeoff import tradeoff
from tensorflow_model_remediation_ext.evaluation.tradeoff_report import (
    Tradeoff,
    TradeoffRow,
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
