from __future__ import annotations

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gradloop.errors import ConfigError
from gradloop.sweeps.search_space import Choice, Interval, draw, grid, read_space


def points(*arguments: str, given: dict[str, str] | None = None) -> list[dict[str, object]]:
    _, space = read_space(arguments, given or {})
    return [{key: value.data for key, value in point.items()} for point in grid(space)]


def test_grid_is_the_cartesian_product_last_key_fastest():
    assert points("a=1,2", "b=x,y", "c=3") == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["allow", "model._target_"])
def test_a_yaml_file_cannot_name_what_is_called(key):
    with pytest.raises(ConfigError, match="refused"):
        read_space([], {key: "own_code.Net"})


@pytest.mark.parametrize(("text", "values"), [
    ("a=1e-3,1e-2", [0.001, 0.01]), ("a=range(3)", [0, 1, 2]), ("a=range(0,1,0.25)", [0.0, 0.25, 0.5, 0.75]),
    ("a=choice(adam,sgd)", ["adam", "sgd"]), ("a=[16,16],[32]", [[16, 16], [32]]), ("a=null,0.5", [None, 0.5]),
    ("a=true,false", [True, False]), ("a='x y',z", ["x y", "z"]), ("a=1,1", [1, 1]),
])  # fmt: skip
def test_hydras_grammar(text, values):
    assert [point["a"] for point in points(text)] == values


def test_fixed_overrides_and_the_sweeps_own_keys_are_apart():
    fixed, space = read_space(["a=1,2", "b=3", "+c=4", "sweep=random", "sweep.n_trials=5", "seeds=2", "~d"], {})
    assert fixed == ["b=3", "+c=4", "~d"]
    assert list(space) == ["a"]


def test_texts_are_read_by_hydra_as_the_same_values():
    _, space = read_space(["a='x y','1,2'", "+b=[1,2],null", "c=interval(0,1)"], {})
    texts = [value.text for value in space["a"].values]
    parsed = OverridesParser.create().parse_overrides([f"a={text}" for text in texts])
    assert [override.value() for override in parsed] == ["x y", "1,2"]
    assert space["+b"].values[0].text == "[1,2]"


def test_yaml_space_is_added_to_and_replaced_by_the_command_line():
    given = {"a": "1,2", "b": "tag(log, interval(1e-4, 1e-1))", "c": "x,y"}
    _, space = read_space(["b=5,6", "c=z", "d=7,8", "sweep.search_space.a=9,10"], given)
    assert {key: [value.data for value in choice.values] for key, choice in space.items()} == {
        "b": [5, 6], "d": [7, 8], "a": [9, 10],
    }  # fmt: skip


def test_intervals():
    _, space = read_space(
        ["a=tag(log,interval(1e-4,1e-1))", "b=int(interval(16,64))", "c=interval(0,1)", "d.e=interval(1,9)"],
        {},
        config=OmegaConf.create({"c": 0.5, "d": {"e": 3}}),
    )
    assert space == {
        "a": Interval(1e-4, 1e-1, log=True, whole=False),
        "b": Interval(16, 64, log=False, whole=True),
        "c": Interval(0, 1, log=False, whole=False),
        "d.e": Interval(1, 9, log=False, whole=True),
    }


def test_draws_fill_the_domain_and_extend():
    _, space = read_space(["a=tag(log,interval(1e-4,1))", "b=int(interval(1,3))", "c=x,y"], {})
    many = draw(space, 400, seed=3)
    assert draw(space, 10, seed=3) == many[:10]
    assert draw(space, 10, seed=4) != many[:10]
    assert {point["b"].data for point in many} == {1, 2, 3}
    assert {point["c"].data for point in many} == {"x", "y"}
    exponents = [math.log10(point["a"].data) for point in many]
    assert -4 <= min(exponents) < -3.8
    assert -0.2 < max(exponents) <= 0
    assert sum(exponents) / 400 == pytest.approx(-2, abs=0.2)  # evenly by factors
    assert all(float(point["a"].text) == point["a"].data for point in many)


@pytest.mark.parametrize(("argument", "words"), [
    ("a=interval(1,0)", "below"), ("a=tag(log,interval(0,1))", "above 0"), ("a=range(5,1)", "no value"),
])  # fmt: skip
def test_empty_spaces_are_refused_by_name(argument, words):
    with pytest.raises(ConfigError, match=words) as refused:
        read_space([argument], {})
    assert "a=" in str(refused.value)


def test_a_grid_refuses_an_interval_with_a_way_out():
    with pytest.raises(ConfigError, match="sweep=random"):
        points("a=interval(0,1)")


def test_lists_in_yaml_are_choices():
    _, space = read_space([], {"a": "[0.1, 0.2]"})
    assert isinstance(space["a"], Choice)
    assert [value.data for value in space["a"].values] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("sweep.search_space={optimizer.lr:hello}", "optimizer.lr=hello: expected a number"),
        ("sweep.search_space={model.hidden_dims:[8,16]}", "model.hidden_dims=8: expected a list"),
        ("+sweep.search_space.model.hidden_dims=[8,16]", "model.hidden_dims=8: expected a list"),
        ('sweep.search_space={optimizer.lr:"interval(-1,1)"}', "optimizer.lr=-1: expected more than 0"),
        ('sweep.search_space={model:"simple_nn,lineer"}', "did you mean 'linear'?"),
        ("sweep.search_space={optimizer.lrr:[1,2]}", "did you mean 'optimizer.lr'?"),
    ],
)
def test_a_space_that_is_given_as_a_whole_is_checked_before_anything_runs(space, told, command, tmp_path):
    ended = command("-m", "sweep=random", "sweep.n_trials=2", space)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert told in line
    assert ended.out == ""
    assert not list(tmp_path.glob("here/outputs/sweeps/*"))
