"""Comments to train on: embedded, from a CSV file, and Civil Comments."""

from tensorflow_model_remediation_ext.datasets.civil_comments import (
    CIVIL_COMMENTS_TERMS,
    load_civil_comments,
    stream_civil_comments,
)
from tensorflow_model_remediation_ext.datasets.csv_comments import load_csv
from tensorflow_model_remediation_ext.datasets.embedded_comments import (
    EMBEDDED_TERMS,
    load_embedded_comments,
)
from tensorflow_model_remediation_ext.datasets.labeled_text import LabeledText
from tensorflow_model_remediation_ext.datasets.terms import load_terms

__all__ = [
    "CIVIL_COMMENTS_TERMS",
    "EMBEDDED_TERMS",
    "LabeledText",
    "load_civil_comments",
    "load_csv",
    "load_embedded_comments",
    "load_terms",
    "stream_civil_comments",
]
