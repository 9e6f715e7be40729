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
from tensorflow_model_remediation_ext.counterfactual.keras.utils import (
    embed_inputs,
    map_inputs,
)

keras_hub = pytest.importorskip(
    "keras_hub", reason="keras-hub is not installed (extra [hub])"
)

TEXTS = ["i am gay", "you are here", "gay people are here", "you are old"]
LABELS = np.array([1, 0, 1, 0])
FIT = {"verbose": 0, "shuffle": False}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def task_data(size=2):
    return tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(size)


def packed_texts(size=2):
    data = task_data(size)
    return pack_counterfactual_data(
        data, build_counterfactual_data(data, ["gay"])
    )


def packed_images(x, other):
    return tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs(
            (x, LABELS), (x, other, np.ones(len(x), "float32"))
        )
    )


def wrap(task, loss_weight=1.0, **options):
    model = CounterfactualModel(task, loss_weight=loss_weight)
    # Tracing a transformer takes far longer than running it eagerly.
    options = {"run_eagerly": True} | options
    model.compile(
        keras.optimizers.SGD(0.1),
        LOSS,
        metrics=["accuracy"],
        counterfactual_metrics=[FlipRate()],
        **options,
    )
    return model


def same(a, b, rtol=1e-4, atol=1e-6):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_raw_strings_are_preprocessed_in_every_part(make_task):
    def by_hand(batch):
        (x, y, _), (a, b, weight) = batch
        tokens = task.preprocessor
        return CounterfactualPackedInputs(
            (tokens(x), y), (tokens(a), tokens(b), weight)
        )

    trained = []
    for prepare in (lambda data: data, lambda data: data.map(by_hand)):
        task = make_task(TEXTS)
        model = wrap(task)
        data = prepare(packed_texts().map(lambda *batch: batch[0]))
        logs = model.fit(data, validation_data=data, **FIT).history
        trained.append((logs, model))
    (logs, model), (expected, _) = trained
    assert logs.keys() == expected.keys()
    for name in logs:
        same(logs[name], expected[name])
    assert logs["counterfactual_loss"][0] > 0

    # Plain strings too: arrays, lists, datasets; as the task itself.
    predictions = model.original_model.predict(np.array(TEXTS), verbose=0)
    for data in (np.array(TEXTS), TEXTS, task_data(), packed_texts()):
        same(model.predict(data, verbose=0), predictions)
    same(model.predict_on_batch(tf.constant(TEXTS)), predictions)
    scores = model.evaluate(TEXTS, LABELS, return_dict=True, verbose=0)
    assert scores == pytest.approx(
        model.evaluate(task_data(), return_dict=True, verbose=0), rel=1e-5
    )
    by_batch = model.test_on_batch(next(iter(packed_texts())), return_dict=True)
    assert by_batch["counterfactual_loss"] > 0


def test_the_preprocessor_is_saved_and_exported(make_task, tmp_path):
    model = wrap(make_task(TEXTS))
    predictions = model.predict(TEXTS, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    same(loaded.predict(TEXTS, verbose=0), predictions)
    loaded.original_model.save(tmp_path / "task.keras")
    task = keras.models.load_model(tmp_path / "task.keras", compile=False)
    same(task.predict(np.array(TEXTS), verbose=0), predictions)

    model.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    same(served.serve(tf.constant(TEXTS)), predictions)
    # One text, and tokens, which is what the task's own export takes.
    same(served.serve(tf.constant(TEXTS[:1])), predictions[:1])
    tokens = task.preprocessor(tf.constant(TEXTS))
    tokens = {name: tf.cast(part, "int32") for name, part in tokens.items()}
    same(served.serve(tokens), predictions)
    (name,) = served.signatures["serving_default"].structured_input_signature[1]
    found = served.signatures["serving_default"](**{name: tf.constant(TEXTS)})
    same(*found.values(), predictions)


@pytest.mark.parametrize(
    "kind", ["lora", "mixed_float16", "accumulation", "jit_compile"]
)
def test_weight_zero_trains_as_the_task_alone(make_task, kind):
    def train(fit_on, wrapper):
        dtype = "mixed_float16" if kind == "mixed_float16" else "float32"
        task = make_task(TEXTS, dtype=dtype)
        if kind == "lora":
            task.backbone.enable_lora(2)
        model = wrapper(task)
        steps = 2 if kind == "accumulation" else None
        model.compile(
            keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps),
            LOSS,
            jit_compile=kind == "jit_compile",
            run_eagerly=kind in ("lora", "mixed_float16"),
        )
        before = model.get_weights()
        model.fit(fit_on, **FIT)
        changes = zip(before, model.get_weights(), strict=True)
        return [after - old for old, after in changes]

    alone = train(task_data(), lambda task: task)
    zero = train(packed_texts(), lambda t: CounterfactualModel(t, None, 0.0))
    atol = 1e-3 if kind == "mixed_float16" else 1e-6
    for a, b in zip(alone, zero, strict=True):
        same(a, b, atol=atol)
    assert max(np.abs(change).max() for change in alone) > 1e-3


@pytest.mark.parametrize("kind", ["lora", "accumulation"])
def test_pairing_moves_what_may_be_trained(make_task, kind):
    """With LoRA the kernels stay; two half steps are one of the mean."""

    def train(data, steps=None):
        task = make_task(TEXTS)
        for layer in task._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        if kind == "lora":
            task.backbone.enable_lora(2)
            task.get_layer("logits").trainable = False
        before = [np.array(v) for v in task.non_trainable_variables]
        start = [np.array(v) for v in task.trainable_variables]
        model = wrap(task, loss_weight=5.0)
        model.compile(
            keras.optimizers.SGD(0.5, gradient_accumulation_steps=steps),
            LOSS,
            run_eagerly=True,
        )
        model.fit(data, **FIT)
        for old, new in zip(before, task.non_trainable_variables, strict=True):
            np.testing.assert_array_equal(old, new)
        moved = [np.array(v) for v in task.trainable_variables]
        changes = zip(start, moved, strict=True)
        assert max(np.abs(a - b).max() for a, b in changes) > 1e-6
        return moved

    if kind == "lora":
        assert 0 < len(train(packed_texts())) < 10
        return
    halves = train(packed_texts(), steps=2)
    whole = train(packed_texts(4))
    for a, b in zip(halves, whole, strict=True):
        same(a, b, rtol=1e-3, atol=1e-5)


def test_embeddings_are_those_of_inference(make_task):
    """Dropout is off in `embed_inputs`, whatever the backbone holds."""
    task = make_task(TEXTS)
    sentence = keras.Model(
        task.backbone.input, task.backbone.output["pooled_output"]
    )
    tokens = map_inputs(packed_texts(), task.preprocessor)
    embedded = embed_inputs(tokens, sentence, verbose=0)
    expected = sentence(task.preprocessor(TEXTS), training=False)
    found = np.concatenate([batch.original_input[0] for batch in embedded])
    same(found, expected)
    # A task is embedded by its outputs, from raw strings.
    outputs = embed_inputs(packed_texts(), task, verbose=0)
    same(
        np.concatenate([batch.original_input[0] for batch in outputs]),
        task.predict(np.array(TEXTS), verbose=0),
    )


def test_layers_that_enable_lora_changed_are_run(make_task):
    task = make_task(TEXTS)
    sentence = keras.Model(
        task.backbone.input, task.backbone.output["pooled_output"]
    )
    packed = packed_texts(4)
    tokens = map_inputs(packed, task.preprocessor)
    before = task.predict(np.array(TEXTS), verbose=0)
    embed_inputs(tokens, sentence, verbose=0)

    task.backbone.enable_lora(2)
    model = wrap(task)
    model.fit(packed, epochs=2, **FIT)
    for weight in task.trainable_variables:
        if "lora" in weight.path:
            weight.assign(tf.ones(weight.shape))
    (batch,) = tokens
    x = batch.original_input[0]
    expected = np.array(task(x, training=False))
    assert np.abs(expected - before).max() > 1e-3
    same(task.predict(np.array(TEXTS), verbose=0), expected)
    (embedded,) = embed_inputs(tokens, sentence, verbose=0)
    same(embedded.original_input[0], sentence(x, training=False))


def image_task(preprocessor=True):
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
    return keras_hub.models.ResNetImageClassifier(
        backbone,
        num_classes=2,
        preprocessor=keras_hub.models.ResNetImageClassifierPreprocessor(
            converter
        )
        if preprocessor
        else None,
    )


def test_images():
    rng = np.random.default_rng(0)
    x, other = rng.uniform(0, 255, (2, 4, 12, 12, 3)).astype("float32")
    task = image_task()
    model = wrap(task)
    logs = model.evaluate(packed_images(x, other), return_dict=True, verbose=0)
    a, b = (task.predict(half, verbose=0) for half in (x, other))
    assert logs["counterfactual_loss"] == pytest.approx(
        np.mean((a - b) ** 2), rel=1e-4
    )
    same(model.predict(x, verbose=0), a)
    # Both halves of another size than the task's images: each is resized.
    small = other[:, :10, :10]
    logs = model.evaluate(packed_images(x, small), return_dict=True, verbose=0)
    assert logs["counterfactual_loss"] == pytest.approx(
        np.mean((a - task.predict(small, verbose=0)) ** 2), rel=1e-4
    )


def test_images_of_different_sizes_name_the_call_that_helps():
    sizes = tf.data.Dataset.from_tensor_slices([10, 12, 10, 12])
    data = sizes.map(lambda n: (tf.ones((n, n, 3)), 0))
    pairs = build_counterfactual_data(
        data, custom_counterfactual_function=lambda e: (e[0], 0.5 * e[0])
    )
    packed = pack_counterfactual_data(data, pairs)
    model = wrap(image_task())
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"map_inputs\(.*Resizing.*batch"
    ):
        model.fit(packed.batch(2), **FIT)
    resized = map_inputs(packed, keras.layers.Resizing(12, 12))
    assert "loss" in model.evaluate(
        resized.batch(2), return_dict=True, verbose=0
    )


def test_clear_errors(make_task):
    model = wrap(make_task(TEXTS, preprocessor=False))
    with pytest.raises(ValueError, match="no preprocessor to make them"):
        model.fit(packed_texts(), **FIT)
    with pytest.raises(ValueError, match="no preprocessor to make them"):
        model.predict(task_data(), verbose=0)
    task = make_task(TEXTS)
    model = wrap(task)
    with pytest.raises(ValueError, match="pack_counterfactual_data"):
        model.fit(np.array(TEXTS), LABELS, **FIT)
    tokens = np.zeros((4, 6), "int32")
    data = tf.data.Dataset.from_tensors(
        CounterfactualPackedInputs((tokens, LABELS), (tokens, tokens))
    )
    with pytest.raises(ValueError, match=r"raw strings.*padding_mask"):
        model.fit(data, **FIT)
    with pytest.raises(ValueError, match=r"map_inputs\(packed, tokenizer\)"):
        embed_inputs(packed_texts(), task.backbone, verbose=0)
    task.preprocessor = keras.layers.Lambda(lambda x: {"tokens": x})
    with pytest.raises(ValueError, match=r"must give what.*token_ids.*preset"):
        model.fit(packed_texts(), **FIT)
