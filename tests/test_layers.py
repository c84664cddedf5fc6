"""The architecture: which module may import which. Every rule is also shown a tree that breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import xaibench

ROOT = Path(xaibench.__file__).parent

LAYERS = [  # from the lowest to the highest; a module imports from its own layer and from those below
    "component configuration disk locks failures markdown",
    "data problem seeding keys store",
    "cost removal maps perturb curves gradients superpixels baselines rewriting checking imputation alterations influence",
    "datasets models explainers counterfactuals metrics adapters training lightning selection explaining scoring altering "
    "searching autoencoders neighbors",
    "environment payloads identity stages budget grid labels planning execution jobs progress archive given arguments",
    "peers bench sizing estimates metric_parity alibi_parity ethik_parity",
    "stats tables studies differences skipped classifiers figures pictures influence_maps influence_pixels influence_agreement "
    "claims report publish tracking evaluation shapley_error metric_reliability",
    "cli",
]
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units.split()}
FOLDERS = {"datasets", "models", "explainers", "counterfactuals", "metrics", "adapters"}
SHARED = {"adapters"}  # may be imported by the other folders of components
ONLY_IN = {
    "captum": "xaibench.adapters.captum",
    "shap": "xaibench.adapters.shap",
    "alibi": "xaibench.adapters.alibi",
    "quantus": "xaibench.adapters.quantus",
    "wandb": "xaibench.tracking",
    "hydra": "xaibench.cli",
    "omegaconf": "xaibench.cli",
}
SCRIPTS = {"xaibench.alibi_parity.reference", "xaibench.ethik_parity.reference"}
"""They run in an environment of their own: nothing imports them, and they import nothing of the package."""
LAZY = {"captum", "shap", "alibi", "quantus"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 40


@dataclass(frozen=True)
class Import:
    module: str  # that imports
    target: str  # dotted name, as far as it is a module
    top: bool  # when the module itself is imported
    relative: bool = False


Tree = dict[str, str]


def read() -> Tree:
    """Source by module name; a package's own is that of its `__init__.py`."""
    paths = sorted(ROOT.rglob("*.py"))
    return {
        ".".join(("xaibench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path.read_text() for path in paths
    }


TREE = read()


def imports(tree: Tree) -> Iterator[Import]:
    for module, source in tree.items():
        parsed = ast.parse(source)
        lazy = {id(n) for function in ast.walk(parsed) if isinstance(function, ast.FunctionDef) for n in ast.walk(function)}
        for node in ast.walk(parsed):
            top = id(node) not in lazy
            if isinstance(node, ast.Import):
                yield from (Import(module, alias.name, top) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                name = node.module or ""
                for alias in node.names:
                    nested = f"{name}.{alias.name}"
                    yield Import(module, nested if nested in tree else name, top, node.level > 0)


def unit(module: str) -> str:
    """The second part of a module's name: a module of the package itself, or a folder."""
    return ([*module.split("."), ""])[1]


Found = list[Import]
IMPORTS = list(imports(TREE))


def said(found: Found) -> list[str]:
    return [f"{one.module} imports {one.target}" for one in found]


def upward(found: Found) -> list[str]:
    inner = [one for one in found if one.target.startswith("xaibench.") and unit(one.module)]
    return said([one for one in inner if LEVEL[unit(one.target)] > LEVEL[unit(one.module)]])


def across(found: Found) -> list[str]:
    pairs = ((one, unit(one.module), unit(one.target)) for one in found if one.target.startswith("xaibench."))
    return said([one for one, a, b in pairs if a != b and {a, b} <= FOLDERS and b not in SHARED])


def outside(found: Found) -> list[str]:
    places = ((one, ONLY_IN.get(one.target.split(".")[0])) for one in found if one.module not in SCRIPTS)
    return said([one for one, place in places if place and one.module != place and not is_in(one.module, place)])


def is_in(module: str, place: str) -> bool:
    return place in {"xaibench.cli", "xaibench.tracking"} and module.startswith(f"{place}.")


def eager(found: Found) -> list[str]:
    return said([one for one in found if one.top and one.target.split(".")[0] in LAZY and one.module not in SCRIPTS])


def tied(found: Found) -> list[str]:
    """Scripts that import from the package, or are imported."""
    return said([one for one in found if one.target in SCRIPTS or (one.module in SCRIPTS and one.target.startswith("xaibench"))])


def relative(found: Found) -> list[str]:
    """Keys do not follow relative imports."""
    return said([one for one in found if one.relative])


def cycles(found: Found) -> list[str]:
    graph: dict[str, set[str]] = {}
    for one in found:
        graph.setdefault(one.module, set()).add(one.target)
    loops: list[str] = []
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            loops.append(" > ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                walk(target, [*path, module])
            done.add(module)

    for module in graph:
        walk(module, [])
    return loops


def test_every_module_has_its_layer():
    assert {unit(module) for module in TREE} - {""} <= set(LEVEL)
    assert len(TREE) > 50


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        (upward, {"xaibench.keys": "from xaibench.stages import x"}),
        (upward, {"xaibench.problem": "from xaibench import perturb", "xaibench.perturb": ""}),
        (upward, {"xaibench.explainers.a": "def f():\n    import xaibench.stages"}),
        (upward, {"xaibench.stages": "from xaibench.cli.run import x"}),
        (upward, {"xaibench.component": "from xaibench.problem import x"}),
        (across, {"xaibench.metrics.a": "from xaibench.explainers.b import x"}),
        (across, {"xaibench.explainers.a": "def f():\n    from xaibench.models import linear", "xaibench.models.linear": ""}),
        (across, {"xaibench.adapters.a": "import xaibench.explainers.b"}),
        (outside, {"xaibench.explainers.a": "def f():\n    import captum.attr"}),
        (outside, {"xaibench.adapters.captum": "def f():\n    import shap"}),
        (outside, {"xaibench.stages": "from omegaconf import DictConfig"}),
        (outside, {"xaibench.client": "import hydra"}),
        (outside, {"xaibench.tables.aggregate": "def f():\n    import wandb"}),
        (eager, {"xaibench.adapters.shap": "import shap"}),
        (eager, {"xaibench.adapters.captum": "from captum import attr"}),
        (tied, {"xaibench.alibi_parity.reference": "import alibi\nfrom xaibench.keys import x"}),
        (tied, {"xaibench.alibi_parity.a": "from xaibench.alibi_parity import reference", "xaibench.alibi_parity.reference": ""}),
        (relative, {"xaibench.models.mlp": "from . import layers"}),
        (relative, {"xaibench.models.mlp": "from .layers import x"}),
        (
            cycles,
            {"xaibench.a": "import xaibench.b", "xaibench.b": "from xaibench import c", "xaibench.c": "def f():\n    import xaibench.a"},
        ),
    ],
)
def test_imports_keep_the_rules(rule, broken):
    assert rule(IMPORTS) == []
    assert rule(list(imports(broken)))


def test_what_the_rules_allow():
    allowed = {
        "xaibench.explainers.a": "import xaibench.adapters.shap\nimport xaibench.explainers.b\nimport xaibench.gradients",
        "xaibench.adapters.shap": "def f():\n    import shap",
        "xaibench.cli.run": "from omegaconf import OmegaConf\nfrom xaibench.stages import x",
        "xaibench.tracking": "import wandb",
        "xaibench.stages": "import captumlike, shapely",
        "xaibench.alibi_parity.reference": "import alibi",
    }
    found = list(imports(allowed))
    assert len(found) == 10
    assert [rule(found) for rule in (upward, across, outside, eager, tied, relative, cycles)] == [[]] * 7


def test_init_files_are_empty_but_for_a_lazy_getattr_in_the_top_one():
    for path in ROOT.rglob("__init__.py"):
        body = ast.parse(path.read_text()).body
        if path.parent == ROOT:
            body = [node for node in body if not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")]
        documented = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
        assert documented == [], path


def test_files_and_functions_are_short():
    long = [f"{module}: {len(source.splitlines())} lines" for module, source in TREE.items() if len(source.splitlines()) > LONGEST_FILE]
    for module, source in TREE.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                long += [f"{module}.{node.name}: {lines} lines"] if lines > LONGEST_FUNCTION else []
    assert long == []


def test_the_readme_shows_the_layers():
    table = (ROOT.parent / "README.md").read_text(encoding="utf-8").partition("| layer (")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    shown = [{name.rstrip("/") for name in re.findall("`([^`]+)`", row)} for row in rows]
    assert shown == [set(units.split()) for units in reversed(LAYERS)]
