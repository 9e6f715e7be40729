"""How the files here were made: run with version 0.1.0 (commit 2a88a0e).

`PYTHONPATH=<checkout of 2a88a0e> python make_counterfactual_model.py FOLDER`
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import losses
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
    metrics,
)

ROWS = 8
X = (np.arange(ROWS * 3).reshape(ROWS, 3) % 7 / 3 - 1).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
OTHER = X * np.array([-1, 1, 1], "float32")
WEIGHT = np.linspace(0.5, 2, ROWS, dtype="float32")
FIT = {"verbose": 0, "shuffle": False}


def packed():
    return tf.data.Dataset.from_tensor_slices(
        CounterfactualPackedInputs((X, Y), (X, OTHER, WEIGHT))
    ).batch(4)


def figures(model):
    logs = model.evaluate(packed(), return_dict=True, verbose=0)
    return {
        "predictions": model.predict(X, verbose=0)[:, 0].tolist(),
        "logs": {name: float(value) for name, value in logs.items()},
    }


def main(folder):
    keras.utils.set_random_seed(0)
    wrapped = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2, "tanh", kernel_regularizer="l2"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    model = CounterfactualModel(
        wrapped, losses.PairwiseMSELoss(transform="logit"), loss_weight=2.0
    )
    model.compile(
        keras.optimizers.Adam(0.1),
        "binary_crossentropy",
        metrics=["accuracy"],
        counterfactual_metrics=[metrics.FlipRate(threshold=0.4)],
    )
    model.fit(packed(), epochs=2, **FIT)
    model.save(folder / "counterfactual_model.keras")
    model.save_weights(folder / "counterfactual_model.weights.h5")
    expected = {"saved": figures(model)}
    model.fit(packed(), **FIT)  # One more epoch, with the optimizer's state.
    expected["trained_on"] = figures(model)
    (folder / "counterfactual_model.json").write_text(
        json.dumps(expected, indent=1) + "\n"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
