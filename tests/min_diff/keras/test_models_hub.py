"""MinDiffModel around a KerasHub task with its preprocessor."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.min_diff.keras import (
    MinDiffModel,
    pack_min_diff_data,
)
from tensorflow_model_remediation_ext.min_diff.keras.utils import (
    embed_inputs,
    map_inputs,
)
from tensorflow_model_remediation_ext.min_diff.losses import RateGapLoss

TEXTS = ["she is here", "he is here", "she was old", "he was old"]
LABELS = np.array([[1.0], [0.0], [0.0], [1.0]], "float32")


def packed():
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(4)
    she, he = (
        tf.data.Dataset.from_tensor_slices((TEXTS[k::2], LABELS[k::2])).batch(2)
        for k in (0, 1)
    )
    return pack_min_diff_data(data, she, he)


def test_raw_strings_and_embeddings(make_task):
    task = make_task(TEXTS, classes=1, activation="sigmoid", dropout=0.0)

    found = []
    for data in (packed(), map_inputs(packed(), task.preprocessor)):
        model = MinDiffModel(task, RateGapLoss())
        model.compile("sgd", "binary_crossentropy", run_eagerly=True)
        found.append(model.evaluate(data, return_dict=True, verbose=0))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0]["min_diff_loss"] > 0
    logs = model.fit(packed(), verbose=0, shuffle=False).history
    assert logs["min_diff_loss"][0] > 0

    # A head on embeddings is the rest of the task.
    sentence = keras.Model(
        task.backbone.input, task.backbone.output["pooled_output"]
    )
    tokens = map_inputs(packed(), task.preprocessor)
    embedded = embed_inputs(tokens, sentence, verbose=0)
    head = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(1, "sigmoid")]
    )
    head.set_weights(task.get_layer("logits").get_weights())
    scores = []
    for alone, data in ((task, tokens), (head, embedded)):
        model = MinDiffModel(alone, RateGapLoss())
        model.compile("sgd", "binary_crossentropy", run_eagerly=True)
        scores.append(model.evaluate(data, return_dict=True, verbose=0))
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
