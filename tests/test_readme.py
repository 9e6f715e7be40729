"""The samples of the README run as they stand, one after the other."""

import pathlib
import re

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_samples_run(capsys):
    samples = re.findall(
        r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(samples) == 4
    namespace = {}
    for sample in samples:
        exec(compile(sample, str(README), "exec"), namespace)
    assert "overall" in capsys.readouterr().out
    for model in ("blind", "scrubbed"):
        assert namespace[model](namespace["texts"]).shape == (1600, 1)
