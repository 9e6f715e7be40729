import keras
import numpy as np
import pytest

from tensorflow_model_remediation_ext.common.batches import convert_batches


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.full(3, index)


@pytest.mark.parametrize(
    ("options", "before"),
    [({}, 0), ({"workers": 2}, 1), ({"use_multiprocessing": True}, 1)],
)
def test_workers_begin_when_what_they_need_exists(options, before):
    made = []

    def convert(batch):
        made.append(batch)  # As trackers, which a worker would have alone.
        return batch + 1

    converted = convert_batches(Batches(**options), convert)
    assert len(made) == before and not np.any(made)
    assert converted.workers == options.get("workers", 1)
    np.testing.assert_array_equal(converted[1], [2, 2, 2])
