"""The base of metrics that look at the inputs of a penalty."""

import keras


class PenaltyMetric(keras.metrics.Metric):
    """A metric whose `update_state` does not take labels and predictions.

    So it cannot stand in `compile(metrics=...)`, where Keras would hand it
    those: remediation models refuse it there.
    """
