"""Which outputs CounterfactualModel pairs, and names in its logs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import losses
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    CounterfactualGap,
    FlipRate,
)

ROWS = 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 3)).astype("float32")
OTHER = RNG.normal(size=(ROWS, 3)).astype("float32")
Y = RNG.integers(0, 2, (ROWS, 1)).astype("float32")


def packed(y=Y):
    return tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((X, y), (X, OTHER, np.ones(ROWS, "f")))
    )


class Text(keras.layers.Layer):
    """An output of strings."""

    def call(self, inputs):
        return tf.where(inputs > 0.5, "yes", "no")


class Decision(keras.layers.Layer):
    """An output of integers."""

    def call(self, inputs):
        return keras.ops.cast(inputs > 0.5, "int32")


def make(structure):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, "tanh", name="hidden")(inputs)
    prob = keras.layers.Dense(1, "sigmoid", name="prob")(hidden)
    parts = {
        "prob": prob,
        "hidden": hidden,
        "label": Decision(name="label")(prob),
        "text": Text(name="text")(prob),
    }
    return keras.Model(inputs, keras.tree.map_structure(parts.get, structure))


def gap(model, outputs=None, loss="binary_crossentropy", y=Y, **options):
    """The logged mean squared difference, and its metric."""
    wrapper = CounterfactualModel(model, outputs=outputs, **options)
    wrapper.compile("sgd", loss, counterfactual_metrics=[CounterfactualGap()])
    logs = wrapper.evaluate(packed(y), return_dict=True, verbose=0)
    return logs["counterfactual_loss"]


def by_hand(model, *indices):
    a, b = (keras.tree.flatten(model(x)) for x in (X, OTHER))
    return sum(np.mean(np.square(a[i] - b[i])) for i in indices)


@pytest.mark.parametrize(
    ("structure", "loss", "paired"),
    [
        (["prob", "hidden"], ["binary_crossentropy", None], [0]),
        (["prob", "hidden"], ["binary_crossentropy", "mse"], [0, 1]),
        (["hidden", "prob"], {"hidden": None, "prob": "mse"}, [1]),
        # Keras' flat order is that of the sorted keys.
        (
            {"prob": "prob", "label": "label"},
            {"prob": "binary_crossentropy"},
            [1],
        ),
        ({"prob": "prob", "text": "text"}, {"prob": "mse"}, [0]),
        (["prob", "text"], ["mse", None], [0]),
        ("prob", ["mse", "mae"], [0]),
        (["prob", "prob"], "mse", [0, 1]),
    ],
    ids=str,
)
def test_outputs_without_a_loss_are_not_paired(structure, loss, paired):
    model = make(structure)
    target = {"prob": Y, "hidden": np.zeros((ROWS, 4), "f"), "label": Y}
    target["text"] = Y
    y = keras.tree.map_structure(target.get, structure)
    if isinstance(structure, list):
        y = tuple(y)
    if isinstance(loss, dict) and isinstance(structure, dict):
        y = {name: y[name] for name in structure}
    found = gap(model, loss=loss, y=y)
    assert found == pytest.approx(by_hand(model, *paired), rel=1e-4)


@pytest.mark.parametrize(
    ("structure", "outputs", "paired"),
    [
        (["prob", "hidden"], ["hidden"], [1]),
        (["prob", "hidden"], 1, [1]),
        (["prob", "hidden"], -1, [1]),
        (["prob", "hidden"], ("prob", "hidden"), [0, 1]),
        ({"b": "prob", "a": "hidden"}, "b", [1]),
        # The name of the layer serves as well as the key.
        ({"b": "prob", "a": "hidden"}, ["hidden"], [0]),
        # Decisions may be counted: as floats.
        (["prob", "label"], ["label"], [1]),
    ],
    ids=str,
)
def test_outputs_by_name_or_position(structure, outputs, paired):
    model = make(structure)
    y = keras.tree.map_structure(
        lambda name: np.zeros((ROWS, 4 if name == "hidden" else 1), "f"),
        structure,
    )
    y = tuple(y) if isinstance(y, list) else y
    found = gap(model, outputs, loss="mse", y=y)
    a, b = (
        [np.asarray(o, "f") for o in keras.tree.flatten(model(x))]
        for x in (X, OTHER)
    )
    expected = sum(np.mean(np.square(a[i] - b[i])) for i in paired)
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_issue_of_an_embedding_beside_a_probability():
    model = make(["prob", "hidden"])
    loss = losses.PairwiseMSELoss(transform="logit")
    found = gap(
        model,
        loss=["binary_crossentropy", None],
        y=(Y, np.zeros((ROWS, 4), "f")),
        **{"loss_weight": 1.0},
    )
    assert found == pytest.approx(by_hand(model, 0), rel=1e-4)
    wrapper = CounterfactualModel(model, loss)
    wrapper.compile("sgd", ["binary_crossentropy", None])
    y = (Y, np.zeros((ROWS, 4), "f"))
    logs = wrapper.evaluate(packed(y), return_dict=True, verbose=0)
    a, b = (np.asarray(model(x)[0], "f8") for x in (X, OTHER))
    logits = np.log(a / (1 - a)) - np.log(b / (1 - b))
    assert logs["counterfactual_loss"] == pytest.approx(
        np.mean(logits**2), rel=1e-3
    )


@keras.saving.register_keras_serializable("test_models_outputs")
class Penalizing(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs))
        return inputs


def test_outputs_must_be_named_where_none_has_a_loss():
    inputs = keras.Input((3,))
    output = Penalizing()(keras.layers.Dense(1, name="prob")(inputs))
    model = CounterfactualModel(keras.Model(inputs, output))
    model.compile("sgd")
    with pytest.raises(ValueError, match="`outputs` must say which"):
        model.fit(packed(), verbose=0, shuffle=False)
    named = CounterfactualModel(model.original_model, outputs=0)
    named.compile("sgd")
    logs = named.fit(packed(), verbose=0, shuffle=False).history
    assert logs["counterfactual_loss"][0] > 0


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("no_such", "must hold names among.*no_such"),
        ([7], "must hold names among.*7"),
        (["text"], "must not name an output that holds text.*'text'"),
        ([], r"or a list of them.*outputs=\[\]"),
        (1.5, "outputs=1.5"),
        (True, "outputs=True"),
    ],
)
def test_bad_outputs(outputs, message):
    with pytest.raises(ValueError, match=message):
        gap(make(["prob", "text"]), outputs, ["mse", None], (Y, Y))


class Absent(keras.Model):
    """Returns no `aux`, as models do for what was not asked of them."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return {"aux": None, "prob": self.dense(inputs)}


def test_outputs_that_are_none_are_left_out():
    # The first in the flat order, whose rows were counted before.
    loss = {"prob": "binary_crossentropy"}
    keras.utils.set_random_seed(0)
    plain = Absent()
    plain.compile("sgd", loss)
    logs = plain.fit(X, {"prob": Y}, batch_size=ROWS, shuffle=False, verbose=0)
    keras.utils.set_random_seed(0)
    model = CounterfactualModel(Absent(), loss_weight=0.0)
    model.compile("sgd", loss)
    history = model.fit(packed({"prob": Y}), shuffle=False, verbose=0).history
    assert history["original_loss"] == pytest.approx(logs.history["loss"])
    assert history["counterfactual_loss"][0] > 0
    with pytest.raises(ValueError, match=r"outputs.*'aux', which is None"):
        gap(Absent(), "aux", loss, {"prob": Y})


def test_outputs_are_saved(tmp_path):
    model = CounterfactualModel(make(["prob", "hidden"]), outputs=["hidden"])
    model.compile("sgd", "mse")
    y = (Y, np.zeros((ROWS, 4), "f"))
    expected = model.evaluate(packed(y), return_dict=True, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    found = loaded.evaluate(packed(y), return_dict=True, verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "name", ["counterfactual_loss", "original_loss", "loss", "flip_rate"]
)
def test_no_figure_hides_another(name):
    model = CounterfactualModel(make("prob"))
    model.compile(
        "sgd",
        "binary_crossentropy",
        metrics=[keras.metrics.MeanAbsoluteError(name=name)],
        counterfactual_metrics=[FlipRate()],
    )
    with pytest.raises(ValueError, match=rf"hide one another.*\['{name}'\]"):
        model.evaluate(packed(), verbose=0)


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("nested", [False, True])
def test_metrics_of_pairs_are_refused_among_those_of_labels(argument, nested):
    metrics = {"prob": [FlipRate()]} if nested else [FlipRate()]
    model = CounterfactualModel(make("prob"))
    with pytest.raises(ValueError, match=r"`counterfactual_metrics=.*FlipRate"):
        model.compile("sgd", "mse", **{argument: metrics})
