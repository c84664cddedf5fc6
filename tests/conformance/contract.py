"""What the class of a component must declare; each check raises AssertionError with what is wrong."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import yaml

from xaibench.component import Component
from xaibench.explaining import AXIOMS
from xaibench.problem import Attributions, Counterfactuals, Explainer, Family
from xaibench.scoring import Metric

CONTROLS_AND_METHODS = {
    *(Family.GRADIENT, Family.ACTIVATION, Family.PERTURBATION, Family.SHAPLEY, Family.CONTROL, Family.DEGRADED, Family.SEARCH)
}
METRIC_FAMILIES = set(Family) - CONTROLS_AND_METHODS
SHARED = {"trainer", "tracker"}
"""Groups whose options may configure the same class."""
OURS = {"AccuracyVsSaturation", "Degraded"}
"""Metrics and explainers that this project defines: no paper has them."""
CONTRACTS = ("xaibench.problem", "xaibench.scoring", "xaibench.data")
"""Modules with the abstract classes."""


def source(cls: type) -> Path:
    return Path(inspect.getfile(cls))


def section(doc: str, title: str) -> str:
    """The text of a section of a NumPy docstring, or ""."""
    found = re.search(rf"^{title}\n-{{{len(title)}}}\n(.*?)(?=^\S[^\n]*\n-{{3,}}\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""


def described(cls: type) -> set[str]:
    """Fields that the docstrings of the class and its bases describe."""
    docs = [inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__ if "__doc__" in vars(base)]
    lines = [line for doc in docs for title in ("Parameters", "Attributes") for line in section(doc, title).splitlines()]
    return {name.strip() for line in lines if line[:1].strip() for name in line.partition(" : ")[0].split(",")}


def check_frozen(component: Component) -> None:
    cls = type(component)
    assert "__dataclass_params__" in vars(cls), f"{cls.__name__} is not decorated with @dataclass"
    assert cls.__dataclass_params__.frozen, f"{cls.__name__} is not frozen"
    hash(component)
    assert component == dataclasses.replace(component), f"{cls.__name__} made of the same values is not equal"


def check_fields(component: Component) -> None:
    for field in dataclasses.fields(component):
        assert field.default_factory is dataclasses.MISSING, f"{field.name} has a default factory: expected an immutable default"
        assert not isinstance(field.default, list | dict | set), f"{field.name} has a mutable default"
        assert field.type not in ("Any", "object", "dict", "list"), f"{field.name} has an unchecked annotation {field.type}"


def check_signatures(component: Component) -> None:
    for name, member in vars(type(component)).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(function):
            kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{name} takes **kwargs"


def check_file(component: Component, group: str, name: str) -> None:
    cls = type(component)
    if group not in SHARED:
        assert source(cls).stem == name, f"{source(cls)}: expected {name}.py, as the YAML's name"
        assert cls.__name__.lower() == name.replace("_", ""), f"class {cls.__name__}: expected the camel case of {name}"
    kind = next(base for base in cls.__mro__ if base.__module__ in CONTRACTS or base.__name__ in ("Trainer", "Tracker"))
    others = [item for item in vars(inspect.getmodule(cls)).values() if isinstance(item, type) and issubclass(item, kind)]
    own = [item for item in others if item.__module__ == cls.__module__ and not inspect.isabstract(item)]
    assert group in SHARED or own == [cls], f"{source(cls)}: expected one component, found {own}"


def check_yaml(component: Component, file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    assert content.pop("_target_") == f"{type(component).__module__}.{type(component).__qualname__}"
    defaults = {field.name: field.default for field in dataclasses.fields(component)}
    # A nested component may be spelt out, default or not: only so can its own fields be set on the command line.
    repeated = [name for name, value in content.items() if not isinstance(value, dict) and value == defaults[name]]
    assert not repeated, f"{file}: {repeated} are the defaults"


def check_docstring(component: Component) -> None:
    cls = type(component)
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "")
    assert doc, f"{cls.__name__} has no docstring"
    assert not doc.startswith(f"{cls.__name__}("), f"{cls.__name__} has only the docstring that dataclass makes"
    assert " ".join(doc.split("\n\n")[0].split()).endswith("."), f"{cls.__name__}: expected a first sentence"
    missing = {field.name for field in dataclasses.fields(cls)} - described(cls)
    assert not missing, f"{cls.__name__}: Parameters lack {sorted(missing)}"
    family = getattr(cls, "family", Family.CONTROL)
    if isinstance(component, Explainer | Metric):
        assert section(doc, "Returns"), f"{cls.__name__}: expected a section Returns"
    if family != Family.CONTROL and cls.__name__ not in OURS:
        assert section(doc, "References"), f"{cls.__name__}: expected a section References"
        assert cls.paper, f"{cls.__name__}.paper is empty"


def check_attributes(component: Component) -> None:
    cls = type(component)
    if isinstance(component, Explainer):
        assert cls.family in CONTROLS_AND_METHODS, f"{cls.__name__}.family={cls.family}"
        assert cls.gives is Counterfactuals or cls.family is not Family.SEARCH, f"{cls.__name__}.gives"
        assert isinstance(cls.claims, frozenset), f"{cls.__name__}.claims"
        unknown = cls.claims - AXIOMS.keys()
        assert not unknown, f"{cls.__name__}.claims: {sorted(unknown)} are no axioms of explaining.AXIOMS"
        assert type(cls.exact_passes) is bool, f"{cls.__name__}.exact_passes"
    if isinstance(component, Metric):
        assert cls.family in METRIC_FAMILIES, f"{cls.__name__}.family={cls.family}"
        assert cls.higher_is_better in (True, False, None), f"{cls.__name__}.higher_is_better"
        assert type(cls.version) is int, f"{cls.__name__}.version"
        assert cls.version >= 1, f"{cls.__name__}.version"
        expected = Counterfactuals if cls.family is Family.COUNTERFACTUAL else Attributions
        assert cls.scores is expected, f"{cls.__name__}.scores"


def check_imports(component: Component) -> None:
    """No component sees Hydra or the layers above, and none imports another component's folder."""
    tree = ast.parse(source(type(component)).read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    folder = type(component).__module__.split(".")[1]
    folders = {"datasets", "models", "explainers", "counterfactuals", "metrics"} - {folder}
    forbidden = {"hydra", "omegaconf", "wandb"} | {f"xaibench.{name}" for name in ("cli", "stages", "grid", "store", *folders)}
    wrong = {module for module in modules if any(module == name or module.startswith(f"{name}.") for name in forbidden)}
    assert not wrong, f"{type(component).__name__} imports {sorted(wrong)}"


GENERAL = [check_frozen, check_fields, check_signatures, check_docstring, check_attributes]
