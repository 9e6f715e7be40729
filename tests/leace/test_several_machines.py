"""Statistics of two processes that talk to each other equal those of one."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceFitter,
    OracleFitter,
    QuadraticFitter,
)

ROOT = pathlib.Path(__file__).parents[2]
D, K, N = 4, 3, 80
PROGRAM = """
    import json, os, sys
    import numpy as np
    import tensorflow as tf

    # It must come before anything that TensorFlow runs.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tensorflow_model_remediation_ext.leace.keras import (
        LeaceFitter,
        OracleFitter,
        QuadraticFitter,
    )

    me = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    data = np.load(sys.argv[1] + "/data.npz")
    mine = {name: data[name][me::2] for name in ("x", "z", "w")}
    with strategy.scope():
        fitters = [kind(4, 3) for kind in
                   (LeaceFitter, OracleFitter, QuadraticFitter)]

    @tf.function
    def step(*batch):
        def update(x, z, w):
            for fitter in fitters:
                fitter.update(x, z, sample_weight=w)
        strategy.run(update, batch)

    batches = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensor_slices(
            (mine["x"], mine["z"], mine["w"])).batch(10))
    for batch in batches:
        step(*batch)
    for fitter in fitters:
        name = f"{sys.argv[1]}/{type(fitter).__name__}{me}.npz"
        np.savez(name, *fitter.get_state())
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_multi_worker_mirrored_strategy(tmp_path):
    rng = np.random.default_rng(0)
    z = np.arange(N) % K
    x = rng.normal(size=(N, D)) + z[:, None] + 100
    w = rng.integers(0, 3, N).astype(float)
    np.savez(tmp_path / "data.npz", x=x, z=z, w=w)
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    running = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": workers}, "task": task}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROGRAM), tmp_path],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
            )
        )
    try:
        assert [process.wait(600) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    for kind in (LeaceFitter, OracleFitter, QuadraticFitter):
        one = kind(D, K).update(x, z, sample_weight=w)
        for index in range(2):
            state = np.load(tmp_path / f"{kind.__name__}{index}.npz")
            both = kind(D, K)
            both.set_state([state[name] for name in state.files])
            np.testing.assert_allclose(both.n, one.n)
            for name in ("mean_x", "sigma_xx", "sigma_xz", "sigma_zz"):
                if hasattr(one, name):
                    np.testing.assert_allclose(
                        getattr(both, name),
                        getattr(one, name),
                        rtol=1e-9,
                        atol=1e-9,
                    )
