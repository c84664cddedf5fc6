"""Every YAML in conf/ composes, and its class declares what a component must declare."""

import dataclasses
from typing import Any, ClassVar

import contract
import pytest
from conformance_cases import component_of, components, counterfactual, everything, file_of, names

from xaibench.cli.compose import composed
from xaibench.cli.request import GROUPS, Request
from xaibench.component import Component, build
from xaibench.explainers.gradient import Gradient
from xaibench.metrics.sparseness import Sparseness
from xaibench.problem import Family
from xaibench.tracking.base import Tracker

ALL = [(group, name) for group in GROUPS for name in [*names(group), *counterfactual(group)]]
everyone = pytest.mark.parametrize(("group", "name"), ALL)


def test_a_glob_of_each_group_composes_to_all_its_files():
    assert all(names(group) for group in GROUPS)
    for group in GROUPS:
        assert sorted(components(group)) == names(group)


def test_all_components_are_hashable_and_differ():
    grid = everything()
    for group in set(GROUPS) - {"trainer"}:
        assert len({entry.component for entry in getattr(grid, f"{group}s")}) == len(names(group))


@pytest.mark.parametrize("name", names("tracker"))
def test_trackers_compose(name):
    tracker = composed(Request([f"tracker={name}"]))[1].tracker
    assert isinstance(tracker, Tracker)
    for check in (contract.check_frozen, contract.check_fields, contract.check_signatures, contract.check_docstring):
        check(tracker)


@everyone
def test_class_obeys_the_contract(group, name):
    component = component_of(group, name)
    for check in contract.GENERAL:
        check(component)


@everyone
def test_file_and_class_have_the_name_of_the_yaml(group, name):
    component = component_of(group, name)
    contract.check_file(component, group, name.rpartition("/")[2])
    contract.check_yaml(component, file_of(group, name))


@pytest.mark.parametrize(("group", "name"), [pair for pair in ALL if pair[0] != "trainer"])
def test_component_imports_no_upper_layer_and_no_other_kind(group, name):
    contract.check_imports(component_of(group, name))


@everyone
def test_a_component_is_made_again_from_its_own_fields(group, name):
    component = component_of(group, name)
    fields = {field.name: getattr(component, field.name) for field in dataclasses.fields(component) if field.init}
    plain = {name: value for name, value in fields.items() if not isinstance(value, Component)}
    nested = {name: value for name, value in fields.items() if isinstance(value, Component)}
    specs = {name: {"_target_": f"{type(value).__module__}.{type(value).__qualname__}"} for name, value in nested.items()}
    again = build({"_target_": f"{type(component).__module__}.{type(component).__qualname__}", **plain, **specs})
    assert dataclasses.replace(again, **nested) == component


@dataclasses.dataclass(frozen=True)
class Documented(Gradient):
    """A documented explainer.

    Parameters
    ----------
    first, second
        Two numbers.

    Returns
    -------
    Attributions
        Some.

    References
    ----------
    A paper.
    """

    first: int = 1
    second: float = 1.0


class Undecorated(Gradient):
    """Has no decorator of its own."""


@dataclasses.dataclass(frozen=True)
class Undocumented(Documented):
    """Has one more field.

    Returns
    -------
    Attributions
        Some.

    References
    ----------
    A paper.
    """

    third: int = 1


@dataclasses.dataclass(frozen=True)
class Unreferenced(Gradient):
    """Cites nothing.

    Returns
    -------
    Attributions
        Some.
    """


@dataclasses.dataclass(frozen=True)
class Wordless(Gradient):
    pass


@dataclasses.dataclass(frozen=True)
class Growing(Gradient):
    """Has a default of its own for each instance."""

    many: tuple[int, ...] = dataclasses.field(default_factory=tuple)


@dataclasses.dataclass(frozen=True)
class Swallowing(Gradient):
    """Takes anything."""

    def more(self, **kwargs: Any) -> Any:
        return kwargs


@dataclasses.dataclass(frozen=True)
class Misplaced(Gradient):
    """Belongs to a family of metrics."""

    family: ClassVar = Family.COMPLEXITY


@dataclasses.dataclass(frozen=True)
class Mistaken(Gradient):
    """Gives attributions, and claims to look for counterfactuals."""

    family: ClassVar = Family.SEARCH


@dataclasses.dataclass(frozen=True)
class Scoring(Sparseness):
    """Scores attributions, and claims to score counterfactuals."""

    family: ClassVar = Family.COUNTERFACTUAL


@dataclasses.dataclass(frozen=True)
class Unversioned(Sparseness):
    """Has no version."""

    version: ClassVar = 0


def test_a_documented_class_passes():
    for check in contract.GENERAL:
        check(Documented())


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (contract.check_frozen, Undecorated),
        (contract.check_docstring, Undocumented),
        (contract.check_docstring, Unreferenced),
        (contract.check_docstring, Wordless),
        (contract.check_fields, Growing),
        (contract.check_signatures, Swallowing),
        (contract.check_attributes, Misplaced),
        (contract.check_attributes, Mistaken),
        (contract.check_attributes, Scoring),
        (contract.check_attributes, Unversioned),
    ],
)
def test_the_contract_rejects_mutants(check, mutant):
    with pytest.raises(AssertionError):
        check(mutant())


def test_a_class_in_a_file_of_another_name_is_rejected():
    with pytest.raises(AssertionError):
        contract.check_file(Gradient(), "explainer", "saliency")


def test_a_yaml_that_repeats_a_default_is_rejected(tmp_path):
    file = tmp_path / "sparseness.yaml"
    file.write_text("_target_: xaibench.explainers.gradient.Gradient\noutput: logit\n")
    with pytest.raises(AssertionError, match="defaults"):
        contract.check_yaml(Gradient(), file)
