"""Builds wheel and sdist and checks them as a stranger would get them.

The wheel is installed into a fresh environment, and the tests of the sdist run
against it in a directory of their own, with no checkout in sight:
`python tools/check_dist.py [pytest's arguments]`. `--python`, `--extras`
and `--pin` choose what is in that environment: the newest of everything, or the
oldest.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "tensorflow_model_remediation_ext"
IN_WHEEL = ("py.typed", "evaluation/report/report.css")
IN_SDIST = ("README.md", "docs/index.md", "notebooks/leace_keras.ipynb")


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> None:
    """Runs a command, or raises."""
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def check_contents(wheel: pathlib.Path, sdist: pathlib.Path) -> None:
    """Raises if something is missing, or in the wheel for nothing."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    with tarfile.open(sdist) as archive:
        inside = [name.partition("/")[2] for name in archive.getnames()]
    strangers = [
        name
        for name in names
        if not name.startswith((f"{PACKAGE}/", f"{PACKAGE}-"))
    ]
    missing = [n for n in IN_WHEEL if f"{PACKAGE}/{n}" not in names]
    missing += [name for name in IN_SDIST if name not in inside]
    if strangers or missing:
        sys.exit(f"wheel holds {strangers}; missing: {missing}")


def main() -> None:
    """Builds, checks, installs and tests."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--extras", default="evaluation,test")
    parser.add_argument("--pin", action="append", default=[])
    options, for_pytest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = pathlib.Path(scratch)
        run(sys.executable, "-m", "build", "--outdir", home, ROOT, cwd=home)
        (wheel,), (sdist,) = home.glob("*.whl"), home.glob("*.tar.gz")
        check_contents(wheel, sdist)
        shutil.unpack_archive(sdist, home)
        source = home / sdist.name.removesuffix(".tar.gz")
        # Else the tests would import it from there, not from the wheel.
        shutil.rmtree(source / PACKAGE)
        python = home / "fresh" / "bin" / "python"
        run(options.python, "-m", "venv", home / "fresh", cwd=home)
        install = (sys.executable, "-m", "uv", "pip", "install", "--quiet")
        what = (f"{wheel}[{options.extras}]", *options.pin)
        run(*install, "--python", python, *what, cwd=home)
        run(python, "-m", "pytest", *for_pytest, cwd=source)
        shutil.copytree(
            home, ROOT / "dist", dirs_exist_ok=True, ignore=_but_archives
        )


def _but_archives(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith((".whl", ".tar.gz"))]


if __name__ == "__main__":
    main()
