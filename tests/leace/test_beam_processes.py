"""LEACE in Beam with several worker processes, one of which may be killed."""

import contextlib
import importlib.util
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

from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
)

ROOT = pathlib.Path(__file__).parents[2]
N, D, K = 600, 4, 3
# Reads Parquet files, one of which may be the last that a worker sees.
PROGRAM = """
    import os, pathlib, signal, sys, time
    import apache_beam as beam
    import numpy as np
    import pyarrow.parquet as pq
    from apache_beam.options.pipeline_options import PipelineOptions
    from tensorflow_model_remediation_ext.leace.beam import FitLeace

    folder, runner, kill = pathlib.Path(sys.argv[1]), *sys.argv[2:]

    def rows(path):
        (folder / f"worker-{os.getpid()}").touch()
        # Long enough for the other worker to get its share.
        time.sleep(0.5)
        if kill == "kill":
            try:
                (folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        table = pq.read_table(path)
        yield np.stack(table["x"].to_numpy()), table["z"].to_numpy()

    def save(arrays):
        np.savez(folder / "unfinished.npz", **arrays)
        os.rename(folder / "unfinished.npz", folder / "eraser.npz")

    if runner == "dask":
        from apache_beam.runners.dask.dask_runner import DaskRunner
        from dask.distributed import LocalCluster
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None)
        where = DaskRunner(), PipelineOptions([
            f"--dask_client_address={cluster.scheduler_address}",
            "--dask_npartitions=6"])
    else:
        where = "FnApiRunner", PipelineOptions(
            direct_num_workers=2, direct_running_mode="multi_processing")
    with beam.Pipeline(*where) as pipeline:
        _ = (
            pipeline
            | beam.Create(sorted(map(str, folder.glob("*.parquet"))))
            | beam.Reshuffle()
            | beam.FlatMap(rows)
            | beam.CombineGlobally(FitLeace(4, 3)).without_defaults()
            | beam.Map(save)
        )
"""


def started(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), folder, *arguments],
        cwd=ROOT,
        start_new_session=True,
    )


@pytest.fixture
def data(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    z = np.arange(N) % K
    x = rng.normal(size=(N, D)) + z[:, None] * [1, 2, 0, 0] + 10
    for i in range(6):
        table = pa.table({"x": list(x[i::6]), "z": z[i::6]})
        parquet.write_table(table, tmp_path / f"part-{i}.parquet")
    return tmp_path, LeaceEraser.fit(x, z)


def assert_equal(path, want):
    got = LeaceEraser(**np.load(path))
    np.testing.assert_allclose(got.P, want.P, atol=1e-10)
    np.testing.assert_allclose(got.bias, want.bias, rtol=1e-10)


@pytest.mark.slow
def test_two_processes_fit_what_one_fits(data):
    folder, want = data
    assert started(folder, "processes", "live").wait(600) == 0
    assert len(list(folder.glob("worker-*"))) > 1
    assert_equal(folder / "eraser.npz", want)


@contextlib.contextmanager
def killing_a_worker(folder, runner, name):
    """Yields the pipeline's process once a file is there, or it has ended."""
    process = started(folder, runner, "kill")
    try:
        deadline = time.monotonic() + 600
        while not (folder / name).exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert (folder / "killed").exists()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_killed_worker_gives_no_partial_sum(data):
    folder, _ = data
    with killing_a_worker(folder, "processes", "killed") as process:
        # Beam's local runner waits for the dead for ever.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        assert process.returncode != 0
        assert not (folder / "eraser.npz").exists()


@pytest.mark.slow
def test_dask_makes_up_for_a_killed_worker(data):
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("dask is not installed: pip install dask distributed")
    folder, want = data
    # Dask takes its time to stop when all is done.
    with killing_a_worker(folder, "dask", "eraser.npz"):
        assert len(list(folder.glob("worker-*"))) > 1
        assert_equal(folder / "eraser.npz", want)
