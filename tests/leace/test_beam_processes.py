"""LEACE in Beam with several worker processes, one of which may be killed."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

pytest.importorskip("apache_beam", reason="needs the extra [beam]")

import pyarrow as pa
import pyarrow.parquet as pq

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
)

ROOT = pathlib.Path(__file__).parents[2]
N, D, K = 600, 4, 3
PROGRAM = """
    import os, pathlib, signal, sys
    import apache_beam as beam
    import numpy as np
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_model_remediation_ext.leace.beam import FitLeace

    folder, kill = pathlib.Path(sys.argv[1]), sys.argv[2] == "kill"

    def rows(table):
        (folder / f"worker-{os.getpid()}").touch()
        if kill:
            try:
                (folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return np.stack(table["x"].to_numpy()), table["z"].to_numpy()

    options = PipelineOptions(
        direct_num_workers=2, direct_running_mode="multi_processing")
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(sorted(map(str, folder.glob("*.parquet"))))
            | beam.Reshuffle()
            | beam.io.ReadAllFromParquetBatched()
            | beam.Map(rows)
            | beam.CombineGlobally(FitLeace(4, 3)).with_fanout(2)
              .without_defaults()
            | beam.Map(lambda a: np.savez(folder / "eraser.npz", **a))
        )
"""


def started(folder, how):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), folder, how],
        cwd=ROOT,
        start_new_session=True,
    )


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    z = np.arange(N) % K
    x = rng.normal(size=(N, D)) + z[:, None] * [1, 2, 0, 0] + 10
    for i in range(6):
        table = pa.table({"x": list(x[i::6]), "z": z[i::6]})
        pq.write_table(table, tmp_path / f"part-{i}.parquet")
    return tmp_path, LeaceEraser.fit(x, z)


def assert_equal(path, want):
    got = LeaceEraser(**np.load(path))
    np.testing.assert_allclose(got.P, want.P, atol=1e-10)
    np.testing.assert_allclose(got.bias, want.bias, rtol=1e-10)


def test_two_processes_fit_what_one_fits(data):
    folder, want = data
    assert started(folder, "live").wait(600) == 0
    assert len(list(folder.glob("worker-*"))) > 1
    assert_equal(folder / "eraser.npz", want)


def test_a_killed_worker_gives_no_partial_sum(data):
    folder, want = data
    process = started(folder, "kill")
    try:
        deadline = time.monotonic() + 600
        while not (folder / "killed").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # Beam's local runner may wait for the dead for ever.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        assert (folder / "killed").exists()
        if (folder / "eraser.npz").exists():
            assert_equal(folder / "eraser.npz", want)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
