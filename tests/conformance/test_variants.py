"""Variants: components that differ from an option in some fields, chosen by name and by no glob."""

import pytest
from conformance_cases import components, names

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError
from xaibench.configuration import conf_folder
from xaibench.grid import Entry

GROUPS = ("explainer", "metric")
VARIANT = "variant"
VARIANTS = [(group, path.stem) for group in GROUPS for path in sorted((conf_folder() / group / VARIANT).glob("*.yaml"))]


def entry(group: str, choice: str) -> Entry:
    (found,) = getattr(composed(Request([f"{group}={choice}"]))[0], f"{group}s")
    return found


@pytest.mark.parametrize(("group", "name"), VARIANTS)
def test_a_variant_composes_under_its_own_name_and_is_no_option(group, name):
    found = entry(group, f"{VARIANT}/{name}")
    assert found.name == name
    assert name not in names(group)
    assert found.component not in components(group).values()


def test_no_two_variants_are_the_same():
    for group in GROUPS:
        found = [entry(group, f"{VARIANT}/{name}").component for other, name in VARIANTS if other == group]
        assert len(set(found)) == len(found) > 1


def test_a_variant_stands_beside_options_and_its_fields_can_be_set():
    line = ["-m", f"explainer=gradient,{VARIANT}/integrated_gradients_vargrad", f"metric={VARIANT}/morf_fixed,sparseness"]
    grid = composed(Request(line))[0]
    assert [entry.name for entry in grid.explainers] == ["gradient", "integrated_gradients_vargrad"]
    assert [entry.name for entry in grid.metrics] == ["morf_fixed", "sparseness"]
    (changed,) = composed(Request([f"metric={VARIANT}/morf_fixed", "metric.steps=3"]))[0].metrics
    assert (changed.component.steps, changed.component.output) == (3, "correct")


def test_an_unknown_variant_is_told_with_what_there_is():
    with pytest.raises(ConfigurationError, match="did you mean 'variant/morf_fixed'"):
        composed(Request([f"metric={VARIANT}/morf_fixd"]))
