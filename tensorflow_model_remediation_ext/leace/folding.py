"""An eraser and the Dense layer after it, as one Dense layer."""

import keras
import numpy as np


def folded(
    dense: keras.layers.Dense,
    left: np.ndarray,
    right: np.ndarray,
    mean: np.ndarray | None,
) -> keras.layers.Dense:
    """Returns a Dense layer that does what erasing and then `dense` does.

    Args:
        dense: A built layer over `x_dim` inputs; it is left as it is.
        left: `[x_dim, r]`, the eraser's `proj_left`.
        right: `[r, x_dim]`, the eraser's `proj_right`.
        mean: `[x_dim]`, the eraser's `bias`, or `None`.

    Raises:
        TypeError: If `dense` is not a plain `keras.layers.Dense`: of another
            class, quantized, or with LoRA, whose two parts cannot stay as they
            are.
        ValueError: If it is not built or takes another number of inputs.
    """
    if type(dense) is not keras.layers.Dense:
        raise TypeError(
            "`dense` must be a keras.layers.Dense. Received: "
            f"{type(dense).__name__}"
        )
    adapted = [
        what
        for what, is_so in (
            ("quantized", getattr(dense, "quantization_mode", None)),
            ("with LoRA", getattr(dense, "lora_enabled", False)),
        )
        if is_so
    ]
    if adapted:
        raise TypeError(
            "`dense` must have one kernel of floats: fold into it before "
            "`quantize` and `enable_lora`. Received: the layer "
            f"{dense.name!r}, {' and '.join(adapted)}"
        )
    x_dim = len(left)
    if not dense.built or dense.kernel.shape[0] != x_dim:
        shape = dense.kernel.shape if dense.built else "not built"
        raise ValueError(
            f"`dense` must be built with {x_dim} inputs. Received: dense "
            f"with kernel: {shape}"
        )
    config = dense.get_config()
    config["use_bias"] = dense.use_bias or mean is not None
    result = keras.layers.Dense.from_config(config)
    result.build((None, x_dim))
    to_numpy = keras.ops.convert_to_numpy
    kernel = np.asarray(to_numpy(dense.kernel), np.float64)
    # K' = P^T K and b' = b + ((I - P) mean)^T K.
    inner = left.T @ kernel
    weights = [kernel - right.T @ inner]
    if config["use_bias"]:
        bias = np.zeros(kernel.shape[1])
        if dense.use_bias:
            bias = bias + np.asarray(to_numpy(dense.bias), np.float64)
        if mean is not None:
            bias = bias + (right @ mean) @ inner
        weights.append(bias)
    result.set_weights(weights)
    result.trainable = dense.trainable
    return result
