"""The formulas of docs/scale.md, against measurements at two sizes each.

The smaller size is measured, the larger one foretold from it by the formula,
and measured too.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

try:
    from benchmarks import common
except ImportError:  # Run as a file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import common

K = 8


def data(rows, dim):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, dim), np.float32)
    return x, np.arange(rows) % K


def nbytes(arrays):
    return sum(np.asarray(array).nbytes for array in arrays)


def fitter(kind, rows, dim):
    """Bytes of the statistics, and seconds of an update."""
    x, z = data(rows, dim)
    fitted = kind(dim, K).update(x, z)
    took = common.seconds(lambda: fitted.update(x, z), 3)
    return nbytes(fitted.get_state()), took


def erasure(rows, dim):
    """Bytes of the projections, and seconds to erase."""
    from tensorflow_model_remediation_ext.leace.keras import LeaceEraser

    x, z = data(rows, dim)
    x[:, 0] += z
    eraser = LeaceEraser.fit(x, z)
    parts = eraser.proj_left.numpy(), eraser.proj_right.numpy()
    # As many bytes as if it were of rank K.
    scale = K / parts[0].shape[1]
    return nbytes(parts) * scale, common.seconds(lambda: eraser(x), 5)


def solving(rows, dim):
    """Bytes of nothing, and seconds to solve for an eraser."""
    from tensorflow_model_remediation_ext.leace.keras import LeaceFitter

    x, z = data(rows, dim)
    fitted = LeaceFitter(dim, K).update(x, z)

    def solve():
        fitted.update(x[:8], z[:8])
        return fitted.eraser

    return None, common.seconds(solve, 3)


def scrubbing(blocks, dim):
    """Bytes of nothing, and seconds to scrub so many places."""
    import keras
    import tensorflow as tf

    from tensorflow_model_remediation_ext.leace.keras import scrub

    hidden = inputs = keras.Input((dim,))
    for _ in range(blocks):
        hidden = keras.layers.Dense(dim)(hidden)
        hidden = keras.layers.LayerNormalization()(hidden)
    model = keras.Model(inputs, hidden)
    x, z = data(256, dim)
    batches = tf.data.Dataset.from_tensor_slices((x, z)).batch(64)

    def run():
        scrub(model, batches, z_dim=K, verbose=0)

    return None, common.seconds(run, 1)


def training(share, rows):
    """Bytes of nothing, and seconds of a CLP epoch."""
    import keras
    import tensorflow as tf

    from tensorflow_model_remediation_ext.counterfactual.keras import (
        CounterfactualModel,
        pack_counterfactual_data,
    )

    x, z = data(rows, 256)
    task = tf.data.Dataset.from_tensor_slices((x, z[:, None] % 2)).batch(256)
    pairs = tf.data.Dataset.from_tensor_slices((x, -x)).batch(256)
    packed = pack_counterfactual_data(task, pairs, pairs_per_example=share)
    layers = [keras.layers.Dense(1024, "relu") for _ in range(3)]
    model = CounterfactualModel(
        keras.Sequential(
            [keras.Input((256,)), *layers, keras.layers.Dense(1, "sigmoid")]
        )
    )
    model.compile("sgd", "binary_crossentropy")
    packed = packed.cache()
    return None, common.seconds(lambda: model.fit(packed, verbose=0), 3)


def measurements(quick):
    """Yields a name, how to measure, two sizes, and the two formulas."""
    from tensorflow_model_remediation_ext.leace.keras import (
        LeaceFitter,
        OracleFitter,
        QuadraticFitter,
    )

    rows, small, large = (256, 16, 32) if quick else (8192, 512, 1024)

    def product(n, d):
        return n * d * (d + 256) + 2 * n * d * K

    yield (
        "`LeaceFitter`, a batch",
        lambda n, d: fitter(LeaceFitter, n, d),
        ((rows, small), (rows, large)),
        lambda n, d: 4 * d * (d + 256) + 8 * d * K,
        product,
    )
    yield (
        "its eraser",
        solving,
        ((rows, 2 * small), (rows, 2 * large)),
        None,
        lambda n, d: d**3 / 3 + d**2 * K,
    )
    yield (
        "`LeaceEraser`",
        erasure,
        ((2 * rows, small), (4 * rows, large)),
        lambda n, d: 16 * d * K,
        lambda n, d: 4 * n * d * K,
    )
    yield (
        "`OracleFitter`, a batch",
        lambda n, d: fitter(OracleFitter, n, d),
        ((2 * rows, small), (4 * rows, large)),
        lambda n, d: 8 * K * (d + K),
        lambda n, d: 2 * n * K * (d + K),
    )
    yield (
        f"`QuadraticFitter`, {K} classes, a batch",
        lambda n, d: fitter(QuadraticFitter, n, d),
        ((rows, small // 2), (rows, large // 2)),
        lambda n, d: 4 * K * d * (d + 256),
        lambda n, d: n * d * (d + 256),
    )
    yield (
        "`scrub`, places",
        scrubbing,
        ((2, 32), (4, 32)) if quick else ((8, 64), (16, 64)),
        None,
        lambda places, d: places,
    )
    yield (
        "a CLP epoch, pairs an example",
        training,
        ((0.25, 2 * rows), (1.0, 2 * rows)),
        None,
        lambda share, n: n * (1 + 2 * share),
    )


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows, figures = [], []
    for name, measure, sizes, memory, work in measurements(options.quick):
        if options.only and options.only not in name:
            continue
        start = time.perf_counter()
        measured = [measure(*size) for size in sizes]
        (_, first), (found, second) = measured
        foretold = work(*sizes[1]) / work(*sizes[0])
        room = "-"
        if memory is not None:
            room = f"{found:,.0f} and {memory(*sizes[1]):,.0f}"
        rows.append(
            [
                name,
                f"{sizes[0]}, {sizes[1]}",
                room,
                f"{1e3 * first:.1f} ms",
                f"{1e3 * second:.1f} ms",
                f"{second / first:.2f}",
                f"{foretold:.2f}",
            ]
        )
        figures.append(
            {
                "what": name,
                "bytes": [each[0] for each in measured],
                "seconds": [first, second],
                "ratio": second / first,
                "foretold": foretold,
            }
        )
        sys.stderr.write(f"{name}: {time.perf_counter() - start:.0f} s\n")
    header = [
        "what",
        "sizes",
        "bytes at the larger one, and by the formula",
        "time",
        "at the larger one",
        "times as long",
        "by the formula",
    ]
    table = common.markdown(header, rows)
    common.report("Scale", table, {"scale": figures}, options.json)


if __name__ == "__main__":
    main()
