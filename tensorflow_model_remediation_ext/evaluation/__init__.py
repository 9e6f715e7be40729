"""Evidence: what a model does, by group, and how sure one can be of it."""

from tensorflow_model_remediation_ext.evaluation.calibration import (
    BinRow,
    CalibrationReport,
    CalibrationRow,
)
from tensorflow_model_remediation_ext.evaluation.class_rows import (
    ClassReport,
    ClassRow,
)
from tensorflow_model_remediation_ext.evaluation.disparities import DisparityRow
from tensorflow_model_remediation_ext.evaluation.evidence import Evidence
from tensorflow_model_remediation_ext.evaluation.flip_report import (
    ExampleRow,
    FlipReport,
    FlipRow,
    FlowRow,
    TermReport,
)
from tensorflow_model_remediation_ext.evaluation.flips import flips
from tensorflow_model_remediation_ext.evaluation.flips_of_model import (
    flips_of_model,
)
from tensorflow_model_remediation_ext.evaluation.group_errors import (
    ErrorRow,
    GroupErrorReport,
)
from tensorflow_model_remediation_ext.evaluation.group_metrics import (
    group_metrics,
)
from tensorflow_model_remediation_ext.evaluation.group_report import (
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
from tensorflow_model_remediation_ext.evaluation.leakage import leakage
from tensorflow_model_remediation_ext.evaluation.leakage_report import (
    LeakageReport,
    LeakageRow,
    Reading,
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
from tensorflow_model_remediation_ext.evaluation.readers import READERS
from tensorflow_model_remediation_ext.evaluation.report.report import Report
from tensorflow_model_remediation_ext.evaluation.subgroups import (
    GeneralizedMeanRow,
    SubgroupReport,
    SubgroupRow,
)
from tensorflow_model_remediation_ext.evaluation.tradeoff import tradeoff
from tensorflow_model_remediation_ext.evaluation.tradeoff_method import (
    TradeoffMethod,
)
from tensorflow_model_remediation_ext.evaluation.tradeoff_table import (
    Tradeoff,
    TradeoffRow,
)
from tensorflow_model_remediation_ext.evaluation.worst import WorstRow

__all__ = [
    "READERS",
    "BinRow",
    "CalibrationReport",
    "CalibrationRow",
    "ClassReport",
    "ClassRow",
    "DisparityRow",
    "ErrorRow",
    "Estimate",
    "Evidence",
    "ExampleRow",
    "FlipReport",
    "FlipRow",
    "FlowRow",
    "GeneralizedMeanRow",
    "GroupErrorReport",
    "GroupReport",
    "GroupRow",
    "ImportanceReport",
    "ImportanceRow",
    "LeakageReport",
    "LeakageRow",
    "ProbeReport",
    "ProbeRow",
    "Reading",
    "Report",
    "SubgroupReport",
    "SubgroupRow",
    "TermReport",
    "Tradeoff",
    "TradeoffMethod",
    "TradeoffRow",
    "WorstRow",
    "accuracy",
    "auc",
    "flips",
    "flips_of_model",
    "group_metrics",
    "leakage",
    "linear_probe",
    "permutation_importance",
    "probe_model",
    "tradeoff",
    "wilson_interval",
]
