"""What evaluates a model batch by batch takes a task's raw strings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext import evaluation
from tensorflow_model_remediation_ext.common.preprocessing import (
    preprocessed_batches,
)
from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.utils import (
    map_inputs,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor
from tensorflow_model_remediation_ext.min_diff.keras import (
    MinDiffModel,
    build_min_diff_dataset,
    pack_min_diff_data,
)

WORDS = ["the", "gay", "old", "man", "woman", "was", "here", "rude", "kind"]
RNG = np.random.default_rng(0)
TEXTS = np.array(
    [" ".join(RNG.permutation(WORDS)[:4]) for _ in range(60)], object
)
MENTIONS = np.array(["gay" in text for text in TEXTS]) * 1
LABELS = np.array(["rude" in text for text in TEXTS]) * 1


@pytest.fixture
def task(make_task):
    return make_task([" ".join(WORDS)], classes=1, activation="sigmoid")


def rows(*columns):
    return tf.data.Dataset.from_tensor_slices(columns).batch(20)


def test_flips_and_importance_of_terms(task):
    pairs = build_counterfactual_data(rows(TEXTS), ["gay"])
    report = evaluation.flips_of_model(task, pairs, verbose=0)
    before, after = (
        np.concatenate([pair[k] for pair in pairs]) for k in (0, 1)
    )
    expected = evaluation.flips(
        *(task.predict(half, verbose=0) for half in (before, after))
    )
    gap = expected["overall"].counterfactual_gap.value
    assert report["overall"].n == MENTIONS.sum()
    found = report["overall"].counterfactual_gap.value
    assert found == pytest.approx(gap, rel=1e-3) and gap > 0
    # The same for the wrapper, and for pairs of tokens.
    tokens = pairs.map(
        lambda a, b, w: (task.preprocessor(a), task.preprocessor(b), w)
    )
    for model, data in ((CounterfactualModel(task), pairs), (task, tokens)):
        again = evaluation.flips_of_model(model, data, verbose=0)
        found = again["overall"].counterfactual_gap.value
        assert found == pytest.approx(gap, rel=1e-3)

    importance = evaluation.permutation_importance(
        task,
        TEXTS,
        LABELS,
        feature_names=[],
        edits={"gay": TermEditor(["gay"])},
    )
    scores = task.predict(TEXTS, verbose=0)[:, 0]
    assert importance.baseline == pytest.approx(
        evaluation.auc(LABELS, scores).value
    )
    assert importance["gay"].changed == MENTIONS.sum()

    page = evaluation.Report("A task")
    page.add("plain", "Flips", report).add("plain", "Terms", importance)
    assert page.to_dict()


def test_layers_are_probed_on_raw_strings(task):
    expected = evaluation.probe_model(
        task,
        "pooled_dense",
        [(task.preprocessor(tf.constant(TEXTS)), MENTIONS)],
        cv=2,
        verbose=0,
    )
    data = rows(TEXTS, MENTIONS)
    for model, each in (
        (task, data),
        (task, [(tf.constant(TEXTS), MENTIONS)]),
        (CounterfactualModel(task), data),
    ):
        found = evaluation.probe_model(
            model, "pooled_dense", each, cv=2, verbose=0
        )
        assert found["linear"].n == len(TEXTS)
        assert found["linear"].accuracy.value == pytest.approx(
            expected["linear"].accuracy.value, abs=0.04
        )


def test_kinds_of_collections(task):
    batch = (tf.constant(TEXTS), MENTIONS)

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return batch

    class Iterable:
        def __iter__(self):
            yield batch

    for data in (rows(*batch), [batch], Sequence(), Iterable(), iter([batch])):
        converted = preprocessed_batches(task, data)
        if isinstance(data, Sequence):
            converted = [converted[0]]
        elif isinstance(data, list):
            assert len(converted) == 1
        x, z = next(iter(converted))
        assert set(x) == set(task.input)
        assert len(z) == len(x["token_ids"])
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    data = rows(np.ones((4, 2)), np.ones(4))
    assert preprocessed_batches(plain, data) is data


def test_a_string_that_is_no_batch(make_task):
    wrapped = CounterfactualModel(make_task(TEXTS))
    for single in (TEXTS[0], tf.constant(TEXTS[0]), np.array(TEXTS[0])):
        for predict in (wrapped.predict, wrapped.predict_on_batch):
            with pytest.raises(ValueError, match=r"must have an axis.*list"):
                predict(single)


@pytest.mark.parametrize(
    "x", [{"text": TEXTS[:4]}, TEXTS[:4, None]], ids=["dict", "column"]
)
def test_text_that_the_preprocessor_does_not_take(task, x):
    wrapped = CounterfactualModel(task)
    message = r"(?s)failed on `x`.*\(n,\).*map_inputs\(packed, lambda"
    for predict in (wrapped.predict, wrapped.predict_on_batch):
        with pytest.raises(ValueError, match=message):
            predict(x)
    tokens = np.zeros((4, 7), "int32")
    with pytest.raises(ValueError, match=r"raw strings.*padding_mask"):
        wrapped.predict_on_batch(tokens)


def test_what_the_preprocessor_itself_says_is_told(task):
    task.preprocessor = keras.layers.Lambda(fails)
    with pytest.raises(ValueError, match=r"(?s)failed on `x`.*no vocabulary"):
        CounterfactualModel(task).predict(TEXTS[:4])


def fails(x):
    raise ValueError(f"There is no vocabulary for {x.dtype}.")


def test_two_texts_are_mapped_by_a_preprocessor_as_one_input(task):
    data = rows((TEXTS, TEXTS[::-1]), LABELS)
    pairs = build_counterfactual_data(data, ["gay"], text_key=0)
    packed = pack_counterfactual_data(data, pairs)
    mapped = map_inputs(packed, task.preprocessor)
    for raw, tokens in zip(packed, mapped, strict=True):
        for part, found in (
            (raw.original_input[0], tokens.original_input[0]),
            (raw.counterfactual_data[1], tokens.counterfactual_data[1]),
        ):
            expected = task.preprocessor(part, y=None)
            assert np.any(expected["segment_ids"] == 1)
            for name, each in expected.items():
                np.testing.assert_array_equal(found[name], each)


def test_importance_of_each_of_two_texts(task):
    x = (TEXTS, np.array(["old man"] * len(TEXTS), object))
    measured = evaluation.permutation_importance(
        task, x, LABELS, feature_names=["first", "second"], n_repeats=2
    )
    first, second = measured.rows
    assert first.changed > 0 and second.changed == 0
    predictions = task.predict(x, verbose=0)
    means = evaluation.permutation_importance(
        task, x, LABELS, metric=lambda y, p: np.mean(p), n_repeats=1
    )
    assert means.baseline == pytest.approx(np.mean(predictions), rel=1e-5)


def test_strings_for_a_model_of_numbers(make_task):
    task = make_task([" ".join(WORDS)], preprocessor=False)
    pairs = build_counterfactual_data(rows(TEXTS), ["gay"])
    message = r"`model`, a BertTextClassifier, takes numbers.*map_inputs"
    with pytest.raises(ValueError, match=message):
        evaluation.flips_of_model(task, pairs, verbose=0)
    with pytest.raises(ValueError, match=message):
        evaluation.probe_model(
            task, "pooled_dense", rows(TEXTS, MENTIONS), verbose=0
        )
    wrapped = CounterfactualModel(task)
    wrapped.compile(loss="mse")
    for run in (
        wrapped.predict,
        wrapped.predict_on_batch,
        wrapped.evaluate,
        wrapped.test_on_batch,
    ):
        for x in (TEXTS, list(TEXTS)):
            with pytest.raises(ValueError, match=r"takes numbers.*map_inputs"):
                run(x)


# Keras tells that there is another feature than the model takes.
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_text_that_the_model_does_not_take_is_left_out():
    inputs = {name: keras.Input((1,), name=name) for name in "ab"}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(joined))
    column = np.linspace(-1, 1, 32, dtype="float32")[:, None]
    x = {"sex": np.array(["f", "m"] * 16), "a": column, "b": -column}
    y = (column > 0).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    groups = build_min_diff_dataset(data, group="sex", batch_size=8)
    fair = MinDiffModel(model, "mmd_loss")
    fair.compile("sgd", "binary_crossentropy")
    packed = pack_min_diff_data(data, min_diff_dataset=groups)
    logs = fair.fit(packed, shuffle=False, verbose=0).history
    assert logs["min_diff_loss"]
    np.testing.assert_array_equal(
        fair.predict(data, verbose=0),
        model.predict({name: x[name] for name in "ab"}, verbose=0),
    )
