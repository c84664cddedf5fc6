from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaibench import curves, identity, keys, removal, seeding
from xaibench.component import Component
from xaibench.datasets.digits import Digits
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explainers.sobel import Sobel
from xaibench.identity import Explaining, evaluate_key, explain_key, predict_key, train_key
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.models.mlp import Mlp
from xaibench.problem import Training
from xaibench.removal import Blur, Constant
from xaibench.selection import ExplainOn
from xaibench.training import Trainer

TRAINING = Training(Digits(), Mlp(), Trainer(), 0)
EXPLAINING = Explaining(TRAINING, ExplainOn(count=8), IntegratedGradients())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_digest_is_sha256_of_canonical_json():
    known = "43258cff783fe7036d8a43033f830adfc60ec037382473548ac742b888292777"  # printf '{"a":1,"b":2}' | sha256sum
    assert keys.digest({"b": 2, "a": 1}) == keys.digest({"a": 1, "b": 2}) == known


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_digest_does_not_depend_on_the_order_of_fields(content):
    assert keys.digest(dict(reversed(content.items()))) == keys.digest(content)


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": 1.0}, {"a": [1]}, {"a": None}, {}, {"a": 1, "b": None}])
def test_digest_tells_contents_apart(other):
    assert keys.digest(other) != keys.digest({"a": 1})


def test_digest_refuses_what_json_does_not_know():
    with pytest.raises(ValueError):
        keys.digest({"a": float("nan")})


def cell_keys(explaining: Explaining = EXPLAINING, metric: Component | None = None) -> dict[str, str]:
    """As a new process computes them."""
    clear_caches()
    metric = metric or Deletion()
    return {
        "train": train_key(explaining.training)[0],
        "predict": predict_key(explaining.training)[0],
        "explain": explain_key(explaining)[0],
        "evaluate": evaluate_key(explaining, metric)[0],
    }


def changed(**fields) -> set[str]:
    """The stages whose keys change with fields of the cell; those of its training by their own names."""
    metric = fields.pop("metric", None)
    training = {name: fields.pop(name) for name in list(fields) if name in ("dataset", "model", "trainer", "seed")}
    explaining = replace(EXPLAINING, training=replace(TRAINING, **training), **fields)
    before, after = cell_keys(), cell_keys(explaining, metric)
    return {stage for stage in before if before[stage] != after[stage]}


ALL = {"train", "predict", "explain", "evaluate"}


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ({}, set()),
        ({"seed": 1}, ALL),
        ({"dataset": Digits(validation_share=0.2)}, ALL),
        ({"model": Linear()}, ALL),
        ({"model": Mlp(hidden=(128,))}, ALL),
        ({"trainer": Trainer(epochs=3)}, ALL),
        ({"trainer": Trainer(weight_decay=0.1)}, ALL),
        ({"trainer": Trainer(epochs=Mlp.recipe.epochs)}, set()),  # what the recipe says anyway
        ({"trainer": Trainer(accelerator="cpu")}, set()),  # where it runs
        ({"draw": 1}, {"explain", "evaluate"}),
        ({"explain_on": ExplainOn(count=9)}, {"explain", "evaluate"}),
        ({"explain_on": ExplainOn(count=8, background=7)}, {"explain", "evaluate"}),
        ({"explainer": IntegratedGradients(steps=3)}, {"explain", "evaluate"}),
        ({"explainer": IntegratedGradients(output="probability")}, {"explain", "evaluate"}),
        ({"explainer": Sobel()}, {"explain", "evaluate"}),
        ({"metric": Deletion(steps=3)}, {"evaluate"}),
        ({"metric": Deletion(removal=Constant(0.5))}, {"evaluate"}),
        ({"metric": Deletion(removal=Blur())}, {"evaluate"}),
        ({"metric": Sparseness()}, {"evaluate"}),
    ],
)
def test_each_change_changes_the_keys_that_depend_on_it_and_no_other(fields, stages):
    assert changed(**fields) == stages


def test_numbers_that_are_equal_have_one_key():
    assert str(Constant(-0.0).value) == "0.0"
    assert cell_keys(metric=Deletion(removal=Constant(-0.0))) == cell_keys(metric=Deletion(removal=Constant(0.0)))


def test_other_files_change_every_key(monkeypatch):
    before = cell_keys()
    monkeypatch.setattr(Digits, "checksum", lambda self: "other")
    after = cell_keys()
    assert all(before[stage] != after[stage] for stage in before)


def test_a_metrics_version_and_a_stages_version_count(monkeypatch):
    before = cell_keys()
    monkeypatch.setattr(Deletion, "version", 99)
    assert {stage for stage in before if cell_keys()[stage] != before[stage]} == {"evaluate"}
    monkeypatch.undo()
    monkeypatch.setattr("xaibench.identity.VERSIONS", {"train": 1, "predict": 99, "explain": 1, "evaluate": 1})
    assert {stage for stage in before if cell_keys()[stage] != before[stage]} == {"predict", "explain", "evaluate"}


def test_a_key_is_the_digest_of_its_readable_spec():
    for key, spec in (train_key(TRAINING), predict_key(TRAINING), explain_key(EXPLAINING), evaluate_key(EXPLAINING, Deletion())):
        assert key == keys.digest(spec)


def test_the_code_of_a_component_lists_shared_modules_by_version_and_its_own_by_fingerprint():
    found = keys.code(Deletion(removal=Constant()))
    assert {name: found[f"xaibench.{name}"] for name in ("curves", "removal", "seeding")} == {
        "curves": str(curves.VERSION),
        "removal": str(removal.VERSION),
        "seeding": str(seeding.VERSION),
    }
    assert re.fullmatch("[0-9a-f]{16}", found["xaibench.metrics.deletion"])
    assert "xaibench.component" not in found
    superpixels = keys.code(KernelShap())
    assert superpixels["scikit-image"] == importlib.metadata.version("scikit-image")
    assert "scikit-image" not in keys.code(Sparseness())


def test_a_library_that_is_not_installed_is_absent_from_a_key_and_no_error():
    assert keys._installed("scikit-imago") == "absent"


@dataclass(frozen=True)
class Wrapper(Component):
    inner: Component = Sparseness()
    more: tuple[Component, ...] = ()


def test_the_code_of_nested_components_counts(monkeypatch):
    Wrapper()
    monkeypatch.setattr(Wrapper, "__module__", Mlp.__module__)  # a module that imports none of these components
    own, sparseness, blur = (set(keys.code(component)) for component in (Mlp(), Sparseness(), Blur()))
    assert not {"xaibench.metrics.sparseness", "xaibench.removal"} & own
    assert set(keys.code(Wrapper())) == own | sparseness
    assert set(keys.code(Wrapper(more=(Blur(),)))) == own | sparseness | blur
    assert set(keys.code({"a": Wrapper(), "b": [Blur()]})) == own | sparseness | blur


FILES = {
    "__init__": "",
    "method": '''
"""Module docstring."""
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xaibench.component import Component
from outside_package.shared import helper
from outside_package import plain
if TYPE_CHECKING:
    from outside_package.only_types import Thing

@dataclass(frozen=True)
class Method(Component):
    """Class docstring."""

    steps: int = 3

    def run(self):
        """Method docstring."""
        from outside_package.lazy import late
        return self.steps + 1  # a comment
''',
    "shared": "from outside_package.below_shared import x\nVERSION = 4\ndef helper(): return 1\n",
    "below_shared": "x = 1\n",
    "plain": "from outside_package.deep import y\nLIBRARY = 'torch'\n",
    "deep": "import outside_package.plain\ny = 1\n",
    "lazy": "late = 1\n",
    "only_types": "class Thing: pass\n",
    "unrelated": "z = 1\n",
}


def clear_caches() -> None:
    for module in (keys, identity):
        for cached in vars(module).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()


class Package:
    """A package outside the tree, whose files can be edited."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder / "outside_package"
        self.folder.mkdir()
        for name, text in FILES.items():
            self.write(name, text)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(keys, "PACKAGE", "outside_package")  # as if it were ours
        monkeypatch.setattr(keys, "__file__", str(self.folder / "keys.py"))
        self.method = importlib.import_module("outside_package.method").Method

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.py").write_text(text)
        clear_caches()  # a new process starts with empty ones

    def code(self) -> dict[str, str]:
        return keys.code(self.method())

    def edited(self, name: str, old: str, new: str) -> bool:
        """Whether an edit of a file changes the component's key."""
        before = self.code()
        assert old in FILES[name]
        self.write(name, FILES[name].replace(old, new))
        after = self.code()
        self.write(name, FILES[name])
        assert self.code() == before
        return after != before


@pytest.fixture
def package(tmp_path, monkeypatch):
    yield Package(tmp_path, monkeypatch)
    for name in [name for name in sys.modules if name.split(".")[0] == "outside_package"]:
        del sys.modules[name]
    clear_caches()


def test_documentation_comments_and_layout_change_nothing(package):
    for old in ("Module", "Class", "Method"):
        assert not package.edited("method", f"{old} docstring.", "Other words.")
    assert not package.edited("method", '        """Method docstring."""\n', "")
    assert not package.edited("method", "  # a comment", "")
    assert not package.edited("method", "self.steps + 1", "(self.steps   +\n            1)")


def test_code_changes_the_key(package):
    assert package.edited("method", "self.steps + 1", "self.steps + 2")
    assert package.edited("method", "steps: int = 3", "steps: int = 4")
    assert package.edited("plain", "y\n", "y\nz = 2\n")
    assert package.edited("deep", "y = 1", "y = 2")  # imported by what it imports; the two import each other
    assert package.edited("lazy", "late = 1", "late = 2")  # an import inside a function


def test_code_that_computes_no_result_changes_nothing(package):
    assert not package.edited("unrelated", "z = 1", "z = 2")
    assert not package.edited("only_types", "pass", "x = 2")
    assert not package.edited("__init__", "", "# nothing")


def test_a_shared_module_counts_by_its_version_alone(package):
    assert package.code()["outside_package.shared"] == "4"
    assert "outside_package.below_shared" not in package.code()
    assert not package.edited("shared", "return 1", "return 1 + 0")
    assert not package.edited("below_shared", "x = 1", "x = 2")
    assert package.edited("shared", "VERSION = 4", "VERSION = 5")


def test_a_library_counts_by_its_installed_version(package, monkeypatch):
    before = package.code()
    assert before["torch"] == importlib.metadata.version("torch")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 99")
    clear_caches()
    assert package.code() == before | {"torch": "torch 99"}


def test_a_component_outside_the_package_is_known_by_what_it_imports_of_its_own(package, monkeypatch):
    monkeypatch.setattr(keys, "PACKAGE", "xaibench")
    assert package.edited("method", "self.steps + 1", "self.steps + 2")
    assert package.edited("deep", "y = 1", "y = 2")
    assert package.edited("shared", "return 1", "return 1 + 0")  # a VERSION of somebody else says nothing
    assert package.edited("below_shared", "x = 1", "x = 2")
    assert not package.edited("unrelated", "z = 1", "z = 2")
    assert not package.edited("only_types", "pass", "x = 2")


def test_relative_imports_and_imports_from_the_same_folder_are_followed(package, monkeypatch):
    monkeypatch.setattr(keys, "PACKAGE", "xaibench")
    beside = package.folder.parent / "beside_the_package.py"
    beside.write_text("w = 1\n")
    package.write("plain", "from .deep import y\nfrom . import lazy\nimport beside_the_package\nimport numpy\n")
    before = package.code()
    assert {"outside_package.deep", "outside_package.lazy", "beside_the_package"} <= before.keys()
    assert not {"numpy", "outside_package"} & before.keys()
    beside.write_text("w = 2\n")
    clear_caches()
    assert {name for name, text in package.code().items() if before[name] != text} == {"beside_the_package"}


def test_foreign_code_counts_by_its_files_and_what_is_installed_by_its_version(package, monkeypatch):
    importlib.import_module("sklearn.base")
    monkeypatch.setattr(keys, "PACKAGE", "xaibench")
    found = keys.sources(["outside_package.method", "torch.nn", "builtins", "sklearn.base"])
    assert found.keys() - {"scikit-learn"} == package.code().keys()
    assert found["scikit-learn"] == importlib.metadata.version("scikit-learn")


def test_a_component_without_a_source_file_has_no_key():
    typed = type("Typed", (Component,), {"__module__": "typed_in"})
    with pytest.raises(ValueError, match="module 'typed_in': expected a source file"):
        keys.code(typed())
