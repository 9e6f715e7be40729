"""CounterfactualModel around KerasHub tasks with their preprocessors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual.keras import (
    CounterfactualModel,
    CounterfactualPackedInputs,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    FlipRate,
)

keras_hub = pytest.importorskip(
    "keras_hub", reason="keras-hub is not installed (extra [hub])"
)

TEXTS = ["i am gay", "you are here", "gay people are here", "you are old"]
LABELS = np.array([1, 0, 1, 0])
WORDS = sorted({word for text in TEXTS for word in text.split()})
LENGTH = 6
FIT = {"verbose": 0, "shuffle": False}


def classifier(preprocessor=True, dtype=None):
    keras.utils.set_random_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=[*special, *WORDS])
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(WORDS) + 5,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=LENGTH,
        dropout=0.1,
        dtype=dtype,
    )
    options = {"sequence_length": LENGTH}
    preprocess = keras_hub.models.BertTextClassifierPreprocessor
    return keras_hub.models.BertTextClassifier(
        backbone,
        num_classes=2,
        dtype=dtype,
        preprocessor=preprocess(tokenizer, **options) if preprocessor else None,
    )


def task_data():
    return tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(2)


def packed_texts():
    data = task_data()
    return pack_counterfactual_data(
        data, build_counterfactual_data(data, ["gay"])
    )


def wrap(task, loss_weight=1.0):
    model = CounterfactualModel(task, loss_weight=loss_weight)
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        counterfactual_metrics=[FlipRate()],
    )
    return model


def test_raw_strings_are_preprocessed_in_every_part(tmp_path):
    def by_hand(batch):
        (x, y, _), (a, b, weight) = batch
        tokens = task.preprocessor
        return CounterfactualPackedInputs(
            (tokens(x), y), (tokens(a), tokens(b), weight)
        )

    trained = []
    for prepare in (lambda data: data, lambda data: data.map(by_hand)):
        task = classifier()
        model = wrap(task)
        data = prepare(packed_texts().map(lambda *batch: batch[0]))
        logs = model.fit(data, validation_data=data, **FIT).history
        trained.append((logs, model))
    (logs, model), (expected, _) = trained
    assert logs.keys() == expected.keys()
    for name in logs:
        np.testing.assert_allclose(
            logs[name], expected[name], rtol=1e-4, atol=1e-7
        )

    # Plain strings too: arrays, lists, datasets; as the task itself.
    predictions = model.original_model.predict(np.array(TEXTS), verbose=0)
    for data in (np.array(TEXTS), TEXTS, task_data(), packed_texts()):
        np.testing.assert_allclose(
            model.predict(data, verbose=0), predictions, rtol=1e-4, atol=1e-7
        )
    scores = model.evaluate(TEXTS, LABELS, return_dict=True, verbose=0)
    assert scores == pytest.approx(
        model.evaluate(task_data(), return_dict=True, verbose=0), rel=1e-5
    )
    batch = next(iter(packed_texts()))
    by_batch = model.test_on_batch(batch, return_dict=True)
    assert by_batch["counterfactual_loss"] > 0

    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        loaded.predict(TEXTS, verbose=0), predictions, rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize(
    "kind", ["plain", "lora", "mixed_float16", "accumulation", "jit_compile"]
)
def test_weight_zero_trains_as_the_task_alone(kind):
    def train(fit_on, wrapper):
        dtype = "mixed_float16" if kind == "mixed_float16" else "float32"
        task = classifier(dtype=dtype)
        if kind == "lora":
            task.backbone.enable_lora(2)
        model = wrapper(task)
        steps = 2 if kind == "accumulation" else None
        model.compile(
            keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=kind == "jit_compile",
        )
        before = model.get_weights()
        model.fit(fit_on, **FIT)
        changes = zip(before, model.get_weights(), strict=True)
        return [after - old for old, after in changes]

    alone = train(task_data(), lambda task: task)
    zero = train(packed_texts(), lambda t: CounterfactualModel(t, None, 0.0))
    atol = 1e-3 if kind == "mixed_float16" else 1e-6
    for a, b in zip(alone, zero, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol)
    assert max(np.abs(change).max() for change in alone) > 1e-3


def test_images():
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(8, 8, 3),
    )
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(8, 8), scale=1 / 255.0
    )
    task = keras_hub.models.ResNetImageClassifier(
        backbone,
        num_classes=2,
        preprocessor=keras_hub.models.ResNetImageClassifierPreprocessor(
            converter
        ),
    )
    rng = np.random.default_rng(0)
    x, other = rng.uniform(0, 255, (2, 4, 12, 12, 3)).astype("float32")
    data = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((x, LABELS), (x, other, np.ones(4, "f")))
    )
    model = wrap(task)
    logs = model.evaluate(data, return_dict=True, verbose=0)
    a, b = (task.predict(half, verbose=0) for half in (x, other))
    assert logs["counterfactual_loss"] == pytest.approx(
        np.mean((a - b) ** 2), rel=1e-4
    )
    np.testing.assert_allclose(
        model.predict(x, verbose=0), a, rtol=1e-4, atol=1e-7
    )


def test_clear_errors():
    model = wrap(classifier(preprocessor=False))
    with pytest.raises(ValueError, match="no preprocessor to make them"):
        model.fit(packed_texts(), **FIT)
    model = wrap(classifier())
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        model.fit(np.array(TEXTS), LABELS, **FIT)
    tokens = np.zeros((4, LENGTH), "int32")
    data = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((tokens, LABELS), (tokens, tokens))
    )
    with pytest.raises(ValueError, match=r"raw strings.*padding_mask"):
        model.fit(data, **FIT)
    model.original_model.preprocessor = keras.layers.Lambda(lambda x: x)
    with pytest.raises(ValueError, match="preprocessor of `original_model`"):
        model.fit(packed_texts(), **FIT)
