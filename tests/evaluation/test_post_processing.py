"""Post-processing by others works on our models, before and after."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fairlearn.metrics import demographic_parity_difference
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import brier_score_loss

from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    pack_counterfactual_data,
)

RNG = np.random.default_rng(0)
GROUP = RNG.integers(2, size=600)
Y = (RNG.random(600) < 0.3 + 0.4 * GROUP).astype(int)
X = np.stack([2.0 * Y + RNG.normal(size=600), 3.0 * GROUP], axis=1)
X = X.astype("float32")


def network(X, y):
    """Builds the model, as `SKLearnClassifier` wants it."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input(X.shape[1:]), keras.layers.Dense(y.shape[1], "softmax")]
    )
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy")
    return model


def remediated(X, y):
    """The same, trained not to mind the second column."""
    model = network(X, y)
    other = np.stack([X[:, 0], 3.0 - X[:, 1]], axis=1)
    task = tf.data.Dataset.from_tensor_slices((X, y)).batch(100)
    pairs = tf.data.Dataset.from_tensor_slices((X, other)).batch(100)
    wrapped = CounterfactualModel(model, loss_weight=30.0)
    wrapped.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy")
    packed = pack_counterfactual_data(task, pairs)
    wrapped.fit(packed, epochs=5, shuffle=False, verbose=0)
    # A smaller step keeps what the pairs have taught.
    model.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
    return model


class Classifier(keras.wrappers.SKLearnClassifier):
    def decision_function(self, X):
        """One score a row, as scikit-learn wants it of two classes."""
        negative, positive = self.model_.predict(X, verbose=0).T
        # In the precision in which Fairlearn writes decisions over scores.
        return np.log(positive / negative).astype("float64")


def classifier(build):
    return Classifier(
        build, fit_kwargs={"epochs": 3, "verbose": 0, "batch_size": 100}
    )


@pytest.mark.parametrize("build", [network, remediated])
def test_threshold_optimizer(build):
    fitted = classifier(build).fit(X, Y)
    optimizer = ThresholdOptimizer(
        estimator=fitted,
        constraints="demographic_parity",
        prefit=True,
        predict_method="decision_function",
    )
    optimizer.fit(X, Y, sensitive_features=GROUP)
    decided = optimizer.predict(X, sensitive_features=GROUP, random_state=0)
    plain = np.asarray(fitted.predict(X)).reshape(-1)

    def apart(decisions):
        return demographic_parity_difference(
            Y, decisions, sensitive_features=GROUP
        )

    assert apart(decided) < 0.1 < apart(plain)


@pytest.mark.slow
@pytest.mark.parametrize("build", [network, remediated])
def test_calibration(build):
    calibrated = CalibratedClassifierCV(classifier(build), cv=2).fit(X, Y)
    probabilities = calibrated.predict_proba(X)[:, 1]
    assert abs(probabilities.mean() - Y.mean()) < 0.05
    assert brier_score_loss(Y, probabilities) < 0.2
