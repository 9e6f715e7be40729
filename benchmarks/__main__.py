"""Runs every benchmark, one after the other: `python -m benchmarks`.

What they print goes into docs/benchmarks.md as well, between their markers.
Arguments go to each of them; with `--quick` the page stays as it is.
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
NO_BENCHMARK = {"__init__", "__main__", "common"}


def rewritten(page, name, output):
    """Returns the page with the output between the benchmark's markers."""
    tables = re.sub(r"^## (.*)$", r"\1:", output.strip(), flags=re.MULTILINE)
    block = f"<!-- benchmarks/{name} -->\n{tables}\n<!-- end -->"
    pattern = rf"<!-- benchmarks/{re.escape(name)} -->\n.*?<!-- end -->"
    page, found = re.subn(pattern, lambda _: block, page, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{PAGE} must have markers of {name} once")
    return page


def main():
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem in NO_BENCHMARK:
            continue
        sys.stdout.write(f"\n# benchmarks/{path.name}\n\n")
        sys.stdout.flush()
        done = subprocess.run(
            [sys.executable, path, *sys.argv[1:]],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        sys.stdout.write(done.stdout)
        if done.returncode:
            failed.append(path.name)
        elif "--quick" not in sys.argv:
            page = PAGE.read_text(encoding="utf-8")
            page = rewritten(page, path.name, done.stdout)
            PAGE.write_text(page, encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
