"""The same flip figures through `flips` and TensorFlow Model Analysis.

Run as `python -m benchmarks.tfma` or `python benchmarks/tfma.py`, with the
package installed. Both sides run in the environment of TensorFlow Model
Analysis, one after the other, on the same pairs and groups; figures that
differ end the run. TFMA gives no intervals here, `flips` gives all of its own.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common

REQUIREMENTS = (f"{common.REPOSITORY}[tfma,evaluation]",)

BOTH = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
arguments = json.load(sys.stdin)
sys.path.insert(0, arguments["repository"])
import numpy as np
import pandas as pd
import tensorflow_model_analysis
from tensorflow_model_remediation_ext.evaluation import flips, tfma

n = arguments["pairs"]
rng = np.random.default_rng(0)
original = rng.random(n)
frame = pd.DataFrame({
    "original": original,
    "counterfactual": np.clip(original + rng.normal(0, 0.1, n), 0, 1),
    "faith": rng.choice(["a", "b", "c"], n),
    "old": rng.random(n) < 0.2,
})
slices = ["faith", "old"]

def ours():
    return flips(
        frame["original"], frame["counterfactual"], groups=frame[slices]
    )

def theirs():
    return tfma.analyze_flips(frame, slices).report

def seconds(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        report = function()
        times.append(time.perf_counter() - start)
    return min(times), report

theirs_seconds, theirs_report = seconds(theirs, arguments["repeats"])
ours_seconds, ours_report = seconds(ours, 20)
for row in ours_report.rows:
    other = theirs_report[row.group]
    assert (row.n, row.flip_count) == (other.n, other.flip_count), row
    assert row.flip_rate == other.flip_rate, (row, other)
    assert row.positive_to_negative == other.positive_to_negative
    np.testing.assert_allclose(
        row.counterfactual_gap, other.counterfactual_gap, rtol=1e-9
    )
print(json.dumps({
    "ours": ours_seconds,
    "theirs": theirs_seconds,
    "version": tensorflow_model_analysis.version.VERSION,
}))
"""


def main():
    parser = common.parser(__doc__)
    parser.add_argument(
        "--peer-python", metavar="PYTHON", help="of an environment with TFMA"
    )
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    python = common.peer_python("tfma", REQUIREMENTS, arguments.peer_python)
    measured = common.run_peer(
        python,
        BOTH,
        repository=str(common.REPOSITORY),
        pairs=arguments.pairs,
        repeats=arguments.repeats,
    )
    version = measured.pop("version")
    figures = {
        "pairs": arguments.pairs,
        **measured,
        "ratio": measured["theirs"] / measured["ours"],
    }
    rows = [
        (name, f"{s:.4f}", f"{1e6 * s / arguments.pairs:.2f}")
        for name, s in (
            ("`flips`, with intervals", measured["ours"]),
            (f"TFMA {version}, without", measured["theirs"]),
        )
    ]
    table = common.markdown(
        ("the same figures", "seconds", "microseconds a pair"), rows
    )
    title = (
        f"Flip figures of {arguments.pairs:,} pairs, 4 groups: "
        f"{figures['ratio']:.0f} times"
    )
    common.report(title, table, figures, arguments.json)


if __name__ == "__main__":
    main()
