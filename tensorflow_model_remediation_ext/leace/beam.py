"""Fitting an eraser to more data than one machine holds, with Apache Beam."""

from typing import Any

import numpy as np

try:
    import apache_beam as beam
except ImportError as error:
    raise ImportError(
        "tensorflow_model_remediation_ext.leace.beam needs Apache Beam: "
        'pip install "tensorflow_model_remediation_ext[beam]"'
    ) from error

from tensorflow_model_remediation_ext.common.checks import whole
from tensorflow_model_remediation_ext.leace.arrays import as_array
from tensorflow_model_remediation_ext.leace.leace import LeaceFitter
from tensorflow_model_remediation_ext.leace.options import LeaceOptions

# Rows to collect before one product over all of them.
_ROWS = 1024
_NAMES = "x", "z", "sample_weight"


class FitLeace(beam.CombineFn):
    """Combines a PCollection of `(x, z)` into the arrays of a `LeaceEraser`.

    Accumulators are the NumPy statistics of a `LeaceFitter`, merged as its
    `merge` does; rows wait in them until there are enough for a fast product.

    Args:
        x_dim: Size of `x`.
        z_dim: Size of `z`, or the number of classes.
        **options: Of `LeaceFitter`, apart from `preserve_dim`.

    Elements are `(x, z)` or `(x, z, sample_weight)`: one row, `[x_dim]` with
    `[z_dim]` or a class id, or a batch, `[n, x_dim]` with `[n, z_dim]` or `[n]`
    ids.

    The output is a dict of arrays `proj_left`, `proj_right` and `bias`, the
    arguments of `LeaceEraser`. With `affine=False` its `bias` is `None`: leave
    it out where the arrays are saved. No rows have no eraser, so that
    `CombineGlobally` needs `.without_defaults()`.

    Raises:
        ValueError: On options out of range; on wrong shapes, NaN or infinity
            in the data, and on fewer than two rows, when the pipeline runs.

    Examples:
        >>> rows = [(np.random.randn(4), i % 2) for i in range(100)]
        >>> with beam.Pipeline() as pipeline:
        ...     _ = (
        ...         pipeline
        ...         | beam.Create(rows)
        ...         | beam.CombineGlobally(FitLeace(4, 2)).without_defaults()
        ...         | beam.Map(lambda arrays: print(sorted(arrays)))
        ...     )
        ['bias', 'proj_left', 'proj_right']
    """

    def __init__(self, x_dim: int, z_dim: int, **options: Any):
        checked = LeaceOptions(**options)
        if checked.preserve_dim:
            raise ValueError("`preserve_dim` is not supported here.")
        super().__init__()
        self._arguments = {
            "x_dim": whole("x_dim", x_dim),
            "z_dim": whole("z_dim", z_dim),
            **vars(checked),
        }

    def create_accumulator(self):
        """No statistics, no elements waiting, and the number of their rows."""
        return None, [], 0

    def add_input(self, accumulator, element):
        """Lets an element wait, or adds all that wait."""
        state, waiting, rows = accumulator
        if not isinstance(element, (tuple, list)) or len(element) not in (2, 3):
            raise ValueError(
                "Elements must be (x, z) or (x, z, sample_weight). Received: "
                f"{type(element).__name__}"
            )
        parts = element[:2] if element[-1] is None else element
        x, z, *weight = map(_array, _NAMES, parts)  # The names may be more.
        if x.ndim == 1:
            x, z, *weight = (value[None] for value in (x, z, *weight))
        shapes = [value.shape for value in (x, z, *weight)]
        # Rows that one element lacks must not be those of another.
        if len({shape[:1] for shape in shapes}) > 1 or x.ndim == 0:
            raise ValueError(
                "The parts of an element, (x, z) or (x, z, sample_weight), "
                "must be those of one row, with `x` of shape "
                f"[{self._arguments['x_dim']}], or of equally many. Received: "
                f"shapes {shapes}"
            )
        weight = weight[0] if weight else np.ones(x.shape[:-1])
        waiting.append((x, z, weight))
        rows += len(x)
        if rows < _ROWS:
            return state, waiting, rows
        return self.compact((state, waiting, rows))

    def merge_accumulators(self, accumulators):
        """Adds up the statistics of all accumulators."""
        fitter = LeaceFitter(**self._arguments)
        for accumulator in accumulators:
            fitter.merge(self._fitter(accumulator))
        return fitter.get_state(), [], 0

    def compact(self, accumulator):
        """Adds the waiting rows, so that less has to be sent."""
        if not accumulator[1]:
            return accumulator
        return self._fitter(accumulator).get_state(), [], 0

    def extract_output(self, accumulator):
        """The arrays of the eraser."""
        eraser = self._fitter(accumulator).eraser
        return {
            "proj_left": eraser.proj_left.numpy(),
            "proj_right": eraser.proj_right.numpy(),
            "bias": None if eraser.bias is None else eraser.bias.numpy(),
        }

    def _fitter(self, accumulator):
        state, waiting, _ = accumulator
        fitter = LeaceFitter(**self._arguments)
        if state is not None:
            fitter.set_state(state)
        # Ids and columns, or sequences of several lengths, do not concatenate.
        # Nor do two kinds of half precision, and of class ids of two dtypes
        # NumPy may make floats.
        alike = {}
        for rows in waiting:
            shapes = tuple(value.shape[1:] for value in rows)
            x, z, _ = (value.dtype for value in rows)
            kind = shapes, z, x if x.itemsize < 4 else None
            alike.setdefault(kind, []).append(rows)
        for some in alike.values():
            x, z, weight = map(np.concatenate, zip(*some, strict=True))
            fitter.update(x, z, sample_weight=weight)
        return fitter


def _array(name, value):
    """`as_array`, without a look at what NumPy has for a row."""
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return np.asarray(value)
    return as_array(name, value)
