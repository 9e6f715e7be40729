"""Runs every benchmark, one after the other: `python -m benchmarks`."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
NO_BENCHMARK = {"__init__", "__main__", "common"}


def main():
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem in NO_BENCHMARK:
            continue
        sys.stdout.write(f"\n# benchmarks/{path.name}\n\n")
        sys.stdout.flush()
        if subprocess.run([sys.executable, path], check=False).returncode:
            failed.append(path.name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
