from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Literal

import annotated_types
import pytest

from xaibench.component import (
    Component,
    ConfigurationError,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UserError,
    build,
    describe,
)
from xaibench.metrics.deletion import Deletion
from xaibench.removal import Blur, Constant, Removal


@dataclass(frozen=True)
class Inner(Component):
    width: PositiveInt = 3


@dataclass(frozen=True)
class Everything(Component):
    whole: int = 1
    real: float = 1.0
    switch: bool = False
    text: str = "a"
    choice: Literal["a", 2] = "a"
    items: tuple[PositiveInt, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    perhaps: PositiveInt | None = None
    either: Literal["all"] | tuple[int, ...] = "all"
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    positive: PositiveInt = 1
    natural: NonNegativeInt = 0
    above: PositiveFloat = 1.0
    from_zero: NonNegativeFloat = 0.0
    share: Fraction = 0.5
    open_share: Annotated[float, annotated_types.Gt(0), annotated_types.Lt(0.5)] = 0.25
    place: str = field(default="here", metadata={"runtime": True})


@dataclass(frozen=True)
class Demanding(Component):
    size: int


HERE = f"{__name__}.Everything"

GOOD = [
    ("whole", -7, -7),
    ("real", 3, 3.0),
    ("real", -0.5, -0.5),
    ("switch", True, True),
    ("text", "", ""),
    ("choice", 2, 2),
    ("items", [1, 2], (1, 2)),
    ("items", (), ()),
    ("pair", [4, 5], (4, 5.0)),
    ("perhaps", None, None),
    ("perhaps", 4, 4),
    ("either", "all", "all"),
    ("either", [3, 1], (3, 1)),
    ("inner", Inner(5), Inner(5)),
    ("inners", [Inner(5), Inner()], (Inner(5), Inner())),
    ("positive", 1, 1),
    ("natural", 0, 0),
    ("above", 1e-30, 1e-30),
    ("from_zero", 0, 0.0),
    ("share", 0, 0.0),
    ("share", 1, 1.0),
    ("open_share", 0.499, 0.499),
]

BAD = [
    ("whole", 1.0, "an integer"),
    ("whole", True, "an integer"),
    ("whole", "1", "an integer"),
    ("whole", None, "an integer"),
    ("real", "1", "a number"),
    ("real", True, "a number"),
    ("real", float("nan"), "a finite number"),
    ("real", float("inf"), "a finite number"),
    ("switch", 1, "true or false"),
    ("text", 1, "a text"),
    ("choice", "b", "one of a, 2"),
    ("choice", 2.0, "one of a, 2"),
    ("items", [1, 0], "a list of an integer and >= 1"),
    ("items", [1, True], "a list of an integer and >= 1"),
    ("items", 1, "a list of an integer and >= 1"),
    ("items", "12", "a list of an integer and >= 1"),
    ("pair", [1], "2 values"),
    ("perhaps", 0, "an integer and >= 1 or null"),
    ("perhaps", "no", "an integer and >= 1 or null"),
    ("either", "some", "one of all or a list of an integer"),
    ("inner", 3, "a Inner"),
    ("inner", Blur(), "a Inner"),
    ("inners", [Inner(), Blur()], "a list of a Inner"),
    ("positive", 0, "an integer and >= 1"),
    ("natural", -1, "an integer and >= 0"),
    ("above", 0.0, "a number and > 0"),
    ("from_zero", -1e-9, "a number and >= 0"),
    ("share", 1.0001, "a number and >= 0 and <= 1"),
    ("open_share", 0.5, "a number and > 0 and < 0.5"),
]


@pytest.mark.parametrize(("name", "value", "kept"), GOOD)
def test_a_fitting_value_is_kept_or_converted(name, value, kept):
    found = getattr(Everything(**{name: value}), name)
    assert found == kept
    assert type(found) is type(kept)


def test_numbers_inside_lists_are_converted_too():
    assert [type(item) for item in Everything(pair=[4, 5]).pair] == [int, float]


@pytest.mark.parametrize(("name", "value", "expected"), BAD)
def test_a_wrong_value_is_refused_with_field_value_and_expectation_in_one_line(name, value, expected):
    with pytest.raises(ConfigurationError) as caught:
        Everything(**{name: value})
    assert str(caught.value) == f"Everything.{name}={value!r}: expected {expected}"


def test_a_value_with_line_breaks_is_reported_in_one_line():
    with pytest.raises(ConfigurationError) as caught:
        Everything(whole="a\nb")
    assert "\n" not in str(caught.value)


def test_a_wrong_default_is_found_too_and_the_error_is_for_the_user():
    @dataclass(frozen=True)
    class Wrong(Component):
        size: int = 0

        def __post_init__(self):
            object.__setattr__(self, "size", "x")
            super().__post_init__()

    with pytest.raises(UserError, match=r"Wrong\.size='x'"):
        Wrong()


def test_components_are_frozen_and_compare_by_their_fields():
    assert Everything() == Everything(real=1)
    assert hash(Everything(items=[1])) == hash(Everything(items=(1,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Everything().whole = 2


def test_build_makes_nested_components_and_lists_of_them():
    inner = {"_target_": f"{__name__}.Inner", "width": 9}
    found = build({"_target_": HERE, "inner": inner, "inners": [inner, {"_target_": f"{__name__}.Inner"}], "real": 2}, "explainer")
    assert found == Everything(inner=Inner(9), inners=(Inner(9), Inner()), real=2.0)


def test_build_makes_a_removal_operator_inside_a_metric():
    spec = {"_target_": "xaibench.metrics.deletion.Deletion", "removal": {"_target_": "xaibench.removal.Constant", "value": 1}}
    assert build(spec, "metric") == Deletion(removal=Constant(1.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "metric._target_=None: expected the import path of a component class"),
        ({"_target_": 3}, "metric._target_=3: expected the import path of a component class"),
        ({"_target_": "nowhere.at.All"}, "metric._target_='nowhere.at.All': expected an importable component class (No module named"),
        ({"_target_": "Inner"}, "metric._target_='Inner': expected an importable component class"),
        ({"_target_": "xaibench.removal.Blurr"}, "metric._target_='xaibench.removal.Blurr': expected an importable component class"),
        ({"_target_": "pathlib.Path"}, "metric._target_='pathlib.Path': expected a subclass of xaibench.component.Component"),
        ({"_target_": "os.getcwd"}, "metric._target_='os.getcwd': expected a subclass of xaibench.component.Component"),
        (
            {"_target_": "xaibench.removal.Removal"},
            "metric._target_='xaibench.removal.Removal': expected a component class that is not abstract",
        ),
        ({"_target_": f"{__name__}.Demanding"}, "metric.size: expected a value; Demanding has no default for it"),
        ({"_target_": f"{__name__}.Inner", "widht": 3}, "metric.widht=3: expected a field of Inner (width); did you mean 'width'?"),
        ({"_target_": "xaibench.removal.TrainingMean", "x": 3}, "metric.x=3: expected a field of TrainingMean (it has none)"),
        ({"_target_": HERE, "inner": {"_target_": f"{__name__}.Inner", "w": 1}}, "metric.inner.w=1: expected a field of Inner (width)"),
        ({"_target_": HERE, "inners": [{"_target_": "no.X"}]}, "metric.inners._target_='no.X': expected an importable component class"),
        ({"_target_": f"{__name__}.Inner", "width": 0}, "Inner.width=0: expected an integer and >= 1"),
    ],
)
def test_build_refuses_what_it_cannot_make_in_one_line(spec, message):
    with pytest.raises(ConfigurationError) as caught:
        build(spec, "metric")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_no_field_is_proposed_that_is_not_like_the_unknown_one():
    with pytest.raises(ConfigurationError) as caught:
        build({"_target_": f"{__name__}.Inner", "zzz": 3}, "metric")
    assert "did you mean" not in str(caught.value)


def test_describe_gives_class_and_all_fields_but_the_runtime_ones():
    found = describe(Everything(items=[2], inner=Inner(7), inners=[Inner()]))
    inner = {"class": f"{__name__}.Inner", "width": 7}
    assert found["class"] == HERE
    assert found["inner"] == inner
    assert found["inners"] == [inner | {"width": 3}]
    assert found["items"] == [2]
    assert found["perhaps"] is None
    assert set(found) == {item.name for item in dataclasses.fields(Everything)} - {"place"} | {"class"}


def test_describe_goes_into_mappings_and_refuses_what_json_cannot_hold():
    assert describe({"b": Blur(2), "a": (1, "x", None)}) == {"b": {"class": "xaibench.removal.Blur", "sigma": 2.0}, "a": [1, "x", None]}
    with pytest.raises(TypeError, match="expected a component"):
        describe({1, 2})
    with pytest.raises(TypeError, match="expected a component"):
        describe(Removal)
