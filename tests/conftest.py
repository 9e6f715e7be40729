"""What tests of several wings share, and which of them run.

Tests of several replicas need two logical CPUs, which must be asked for before
TensorFlow runs anything.
"""

import os

import pytest
import tensorflow as tf

# Before scikit-learn is loaded, which reads it once. On small data threads
# gain nothing, and where cores are busy they wait for one another for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="run the tests marked slow, too"
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture
def make_task():
    """Makes text classifiers of KerasHub, alike but for the options."""
    hub = pytest.importorskip(
        "keras_hub", reason="keras-hub is not installed (extra [hub])"
    )
    import keras

    def make(texts, preprocessor=True, classes=2, dtype=None, **options):
        keras.utils.set_random_seed(0)
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words = sorted({word for text in texts for word in text.split()})
        length = 3 + max(len(text.split()) for text in texts)
        backbone = hub.models.BertBackbone(
            vocabulary_size=len(words) + 5,
            num_layers=1,
            num_heads=2,
            hidden_dim=8,
            intermediate_dim=16,
            max_sequence_length=length,
            dtype=dtype,
        )
        task = hub.models.BertTextClassifier(
            backbone,
            num_classes=classes,
            dtype=dtype,
            preprocessor=hub.models.BertTextClassifierPreprocessor(
                hub.models.BertTokenizer([*special, *words]),
                sequence_length=length,
            )
            if preprocessor
            else None,
            **options,
        )
        # Drawn so small that texts would hardly differ.
        for weight in task.trainable_variables:
            if len(weight.shape) > 1:
                weight.assign(20 * weight)
        return task

    return make
