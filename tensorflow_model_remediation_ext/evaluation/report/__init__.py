"""The page of evidence: its tables, charts and files."""

from tensorflow_model_remediation_ext.evaluation.report.report import Report

__all__ = ["Report"]
