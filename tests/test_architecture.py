"""The house: who may import whom, and where private names may be used."""

import ast
import graphlib
import pathlib

import pytest

import tensorflow_model_remediation_ext

PACKAGE = tensorflow_model_remediation_ext.__name__
HOME = pathlib.Path(tensorflow_model_remediation_ext.__file__).parent
WINGS = {"counterfactual", "datasets", "evaluation", "leace", "min_diff"}
MODULES = {
    ".".join(path.relative_to(HOME).with_suffix("").parts): path
    for path in HOME.rglob("*.py")
}


def imports(path):
    """Names of our modules, and the names imported from them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level == 0 and home.split(".")[0] == PACKAGE:
                inside = home.removeprefix(PACKAGE).lstrip(".")
                yield inside, [alias.name for alias in node.names]


def modules_imported(path):
    for inside, names in imports(path):
        for name in names:
            full = f"{inside}.{name}".lstrip(".")
            for found in (full, inside):
                if found in MODULES:
                    yield found
                    break
                if f"{found}.__init__" in MODULES:
                    yield f"{found}.__init__"
                    break


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    wing = name.partition(".")[0]
    if wing in {"demo", "__init__"}:
        return
    allowed = {"common", wing} if wing in WINGS else {wing}
    for module in modules_imported(MODULES[name]):
        assert module.partition(".")[0] in allowed, module


def test_no_module_imports_itself_through_others():
    graph = {
        # A package imports its modules, not the other way round.
        name: {m for m in modules_imported(path) if m != name}
        for name, path in MODULES.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", MODULES)
def test_private_names_stay_in_their_module(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    modules = set()
    for inside, names in imports(MODULES[name]):
        for imported in names:
            assert not imported.startswith("_") or imported.endswith("__")
            if f"{inside}.{imported}".lstrip(".") in MODULES:
                modules.add(imported)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            value = node.value
            of_module = isinstance(value, ast.Name) and value.id in modules
            assert not of_module, f"{value.id}.{node.attr}"
