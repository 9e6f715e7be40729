"""Every Python sample of the README and of the site runs as it stands.

The samples of a page run one after the other in one namespace, in an empty
directory, as a reader would run them. The comment `<!-- needs: MODULE -->`
above a sample says which optional module it needs; such a sample is left out
where the module is missing. So do the examples of docstrings, one by one.
"""

import doctest
import importlib
import importlib.util
import json
import os
import pathlib
import re
import warnings
from importlib.util import find_spec

import keras
import pytest

import tensorflow_model_remediation_ext

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What a reader tries first runs with the quick tests, too.
FIRST = ROOT / "docs" / "ten-minutes.md"
SAMPLE = re.compile(
    r"(?:<!-- needs: (?P<needs>\S+) -->\n+)?"
    r"^ *```python[^\n]*\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
PACKAGES = (
    "counterfactual.keras",
    "leace.keras",
    "evaluation",
    "datasets",
    "min_diff.keras",
    "min_diff.losses",
)
PACKAGE = tensorflow_model_remediation_ext.__name__
SOURCE = pathlib.Path(tensorflow_model_remediation_ext.__file__).parent
MODULES = [
    ".".join([PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts])
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def samples(page):
    text = page.read_text(encoding="utf-8")
    for match in SAMPLE.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        # Blank lines before it give a traceback the line of the page.
        yield match["needs"], line, "\n" * line + match["code"]


@pytest.mark.parametrize(
    "page",
    [
        page if page == FIRST else pytest.param(page, marks=pytest.mark.slow)
        for page in PAGES
        if any(samples(page))
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_samples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    namespace, left_out = {"__name__": "__main__"}, []
    for needs, line, code in samples(page):
        if needs and find_spec(needs) is None:
            left_out.append(f"line {line} needs {needs}")
            continue
        with warnings.catch_warnings():
            if needs:  # Not ours to keep free of warnings.
                warnings.simplefilter("ignore")
            exec(compile(code, str(page), "exec"), namespace)
    if left_out:
        # CI installs everything, so that a skip cannot hide there.
        assert os.environ.get("REQUIRE_EXTRAS") != "1", left_out
        pytest.skip(f"all ran but: {'; '.join(left_out)}")


@pytest.fixture(scope="module")
def names_of_readers():
    """What a reader of an example has imported."""
    names = {"np": "numpy", "tf": "tensorflow", "keras": "keras"}
    names |= {"pd": "pandas", "beam": "apache_beam"}
    names = {
        short: importlib.import_module(name)
        for short, name in names.items()
        if find_spec(name)
    }
    for package in PACKAGES:
        module = importlib.import_module(f"{PACKAGE}.{package}")
        names |= {name: getattr(module, name) for name in module.__all__}
    return names


# Of the oldest versions of what ours needs.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, names_of_readers, tmp_path, monkeypatch):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        assert os.environ.get("REQUIRE_EXTRAS") != "1", error
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    failures = []
    for example in doctest.DocTestFinder().find(
        module, extraglobs=names_of_readers
    ):
        # Layers are counted from the start.
        keras.utils.clear_session(free_memory=False)
        runner.run(example, out=failures.append)
    assert runner.tries and not failures, "".join(failures)


def test_every_benchmark_has_its_place():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    for name in names - {"common.py"}:
        places = re.findall(
            rf"^<!-- benchmarks/{re.escape(name)} -->\n.*?^<!-- end -->$",
            page,
            re.DOTALL | re.MULTILINE,
        )
        assert len(places) == 1, name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package):
    module = importlib.import_module(f"{PACKAGE}.{package}")
    page = ROOT / "docs" / "api" / f"{package.partition('.')[0]}.md"
    listed = set(re.findall(r"^::: \S+\.(\w+)$", page.read_text(), re.M))
    modules = {"kernels", "metrics", "models", "utils", "optimal_transport"}
    assert set(module.__all__) - modules <= listed


def test_the_reference_shows_no_module_in_place_of_its_function():
    # Of a module and a function of one name, mkdocstrings takes the module.
    pages = (ROOT / "docs" / "api").glob("*.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    names = re.findall(rf"^::: {PACKAGE}\.(\S+)$", text, re.MULTILINE)
    assert len(names) > 100
    modules = {path.stem for path in SOURCE.rglob("*.py")}
    for name in names:
        *_, module, last = name.split(".")
        assert last not in modules or module == last, name


def tool(name):
    """A script of `tools/` as a module."""
    path = ROOT / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_follow_the_address_of_the_repository():
    repository = tool("repository")
    cell = ["# Title\n", "\n", "Text."]
    linked = repository.with_badge(cell, "https://github.com/a/b", "c")
    assert "github/a/b/blob/main/notebooks/c.ipynb)" in linked[2]
    other = repository.with_badge(linked, "https://github.com/d/e", "c")
    assert len(other) == len(linked) and "github/d/e/" in other[2]
    assert repository.with_badge(other, "", "c") == cell


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_make_installs_what_the_notebooks_need():
    makefile = (ROOT / "Makefile").read_text()
    extras = set()
    for target in (r"\$\(READY\)", "notebooks"):
        recipe = re.search(rf"^{target}:.*\n(?:\t.*\n)+", makefile, re.M)
        extras |= {*re.search(r'-e "\.\[(.*)\]"', recipe[0])[1].split(",")}
    for path in NOTEBOOKS:
        [wanted] = re.findall(r"remediation-ext\[([\w,-]+)\]", path.read_text())
        assert set(wanted.split(",")) <= extras, path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_clean_and_linked(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    first, last = (notebook["cells"][k]["source"] for k in (0, -1))
    repository = tool("repository")
    badge = repository.with_badge(first, repository.address(), path.stem)
    assert first == badge, "run tools/repository.py"
    assert "What this does not show" in "".join(last)
    assert path.stem in (ROOT / "docs" / "notebooks.md").read_text()
