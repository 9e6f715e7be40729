"""Small versions of others' erasers, for comparison: they read no labels.

Iterative nullspace projection (Ravfogel et al. 2020, arXiv 2004.07667); LEACE
with the covariance of each predicted class matched; and steps along the
gradient of networks trained one after the other (MANCE++ in small).
"""

import numpy as np


def nullspace(x, z, rounds):
    """Iterative nullspace projection: rounds of a linear reader's direction."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(0), x.std(0) + 1e-12
    basis = np.zeros((x.shape[1], 0))
    rows = (x - mean) / scale
    for _ in range(rounds):
        left = rows - (rows @ basis) @ basis.T
        reader = LogisticRegression(C=0.1, max_iter=100).fit(left, z)
        basis = np.linalg.qr(np.column_stack([basis, reader.coef_.T]))[0]

    def erase(new):
        new = (new - mean) / scale
        return (new - (new @ basis) @ basis.T) * scale + mean

    return erase


def matched(x, z):
    """LEACE, then the covariance of each predicted class made the pooled."""
    from sklearn.linear_model import LogisticRegression

    from tensorflow_model_remediation_ext.leace.keras import LeaceEraser

    mean, scale = x.mean(0), x.std(0) + 1e-12
    reader = LogisticRegression(C=0.01, max_iter=1000)
    reader.fit((x - mean) / scale, z)
    k = int(z.max()) + 1
    leace = LeaceEraser.fit(x, z, **({"z_dim": k} if k > 2 else {}))
    erased = leace(x).numpy()
    predicted = reader.predict((x - mean) / scale)
    d = x.shape[1]

    def covariance(rows):
        found = np.cov(rows.T)
        return found + 0.05 * np.trace(found) / d * np.eye(d)

    target = np.linalg.cholesky(covariance(erased))
    moves = {}
    for c in np.unique(predicted):
        rows = erased[predicted == c]
        if len(rows) > d // 4:
            inverse = np.linalg.inv(np.linalg.cholesky(covariance(rows)))
            moves[c] = rows.mean(0), (target @ inverse).T
    center = erased.mean(0)

    def erase(new):
        erased, c = leace(new).numpy(), reader.predict((new - mean) / scale)
        for each, (middle, move) in moves.items():
            mine = c == each
            erased[mine] = (erased[mine] - middle) @ move + center
        return erased

    return erase


def gradients(x, z, rounds=5):
    """Steps to where networks, one after the other, see no class (two only)."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    mean, scale = x.mean(0), x.std(0) + 1e-12
    rows, networks = tf.constant((x - mean) / scale, tf.float32), []

    def step(network, rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            logit = network(rows)[:, 0]
        slope = tape.gradient(logit, rows)
        length = tf.reduce_sum(tf.square(slope), 1) + 1e-3
        return rows - (logit / length)[:, None] * slope

    for _ in range(rounds):
        network = keras.Sequential(
            [
                keras.layers.Dense(128, "gelu", kernel_regularizer="l2"),
                keras.layers.Dense(1),
            ]
        )
        network.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.BinaryCrossentropy(from_logits=True),
        )
        network.fit(rows, z[:, None], batch_size=64, epochs=8, verbose=0)
        networks.append(network)
        rows = step(network, rows)

    def erase(new):
        new = tf.constant((new - mean) / scale, tf.float32)
        for network in networks:
            new = step(network, new)
        return new.numpy() * scale + mean

    return erase
