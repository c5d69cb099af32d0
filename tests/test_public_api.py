"""The public interface: its names and types, and the reason that opens the test set."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import types
import typing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys.api import options
from recsys.data.reading import Source
from recsys.data.splitting import SplitRule
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.evaluation import Evaluation
from recsys.training import Train

ROOT = Path(recsys.__file__).parent
PUBLIC = {
    "Dataset",
    "Evaluation",
    "InputError",
    "Interactions",
    "Train",
    "add_items",
    "audit",
    "compare",
    "evaluate",
    "execute",
    "export",
    "fit",
    "load",
    "open_run",
    "open_study",
    "recipe",
    "recommend",
    "similar_items",
    "split",
    "tune",
    "verify",
}
WINGS = ["recsys"] + [
    module.name for module in pkgutil.walk_packages(recsys.__path__, "recsys.") if module.ispkg
]


def exported(module: types.ModuleType) -> set[str]:
    """Return the public names that a module holds, other modules left out."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "annotations"
        and not isinstance(value, types.ModuleType)
    }


def is_contents(module: types.ModuleType) -> bool:
    """Return whether a package only hands out the names of its modules."""
    return "modules behind them are internal" in (module.__doc__ or "")


def open_ended(function: Any) -> list[str]:
    """Return what of a signature no editor can complete and no type checker can check."""
    breaches = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation is parameter.empty:
            breaches.append(f"{name} has no type")
        elif parameter.kind is parameter.VAR_KEYWORD and parameter.annotation in ("Any", Any):
            breaches.append(f"**{name}: Any")
    if inspect.signature(function).return_annotation is inspect.Signature.empty:
        breaches.append("no type of the result")
    return breaches


def test_the_names_of_recsys() -> None:
    assert set(recsys.__all__) == PUBLIC
    assert list(recsys.__all__) == sorted(recsys.__all__)
    for name in recsys.__all__:
        value = getattr(recsys, name)
        assert value.__name__ == name
        assert value is getattr(importlib.import_module(recsys._HOMES[name]), name)


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    """The imports for type checkers, which never run, name the modules that `_HOMES` names."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    homes = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert homes == recsys._HOMES


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_hands_out_what_it_lists(wing: str) -> None:
    module = importlib.import_module(wing)
    names = set(getattr(module, "__all__", ()))
    assert all(hasattr(module, name) for name in names)
    if is_contents(module):
        assert exported(module) == names


def test_most_wings_are_tables_of_contents() -> None:
    contents = [wing for wing in WINGS if is_contents(importlib.import_module(wing))]
    assert len(contents) >= 15
    assert {"recsys.scorer", "recsys.ranking", "recsys.sampling", "recsys.serving"} < set(contents)


@pytest.mark.parametrize("wing", [*WINGS, "recsys.tensors"])
def test_public_functions_are_typed(wing: str) -> None:
    module = importlib.import_module(wing)
    functions = {
        name: value
        for name in getattr(module, "__all__", ())
        if inspect.isfunction(value := getattr(module, name))
    }
    assert {name: found for name, f in functions.items() if (found := open_ended(f))} == {}


def test_an_open_signature_would_be_seen() -> None:
    def spelled(a: int, **more: object) -> int: ...

    def untyped(a, **more: Any): ...  # type: ignore[no-untyped-def]

    assert open_ended(spelled) == []
    assert open_ended(untyped) == ["a has no type", "**more: Any", "no type of the result"]


@pytest.mark.parametrize(
    ("typed", "settings", "left_out"),
    [
        (options.LoadOptions, Source, {"source"}),
        (options.SplitOptions, SplitRule, set()),
        (options.TrainOptions, Train, set()),
        (options.EvaluateOptions, Evaluation, set()),
    ],
)
def test_keyword_arguments_are_those_of_the_settings(
    typed: Any, settings: Any, left_out: set[str]
) -> None:
    """The same keys, and the same choices where a setting is one of several words."""
    ours, theirs = typing.get_type_hints(typed), typing.get_type_hints(settings)
    assert set(ours) == set(theirs) - left_out
    for name, annotation in ours.items():
        assert choices(annotation) == choices(theirs[name]), name


def choices(annotation: Any) -> set[Any]:
    """Return the words of all `Literal` within an annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*(choices(part) for part in typing.get_args(annotation)))


def parts() -> Split:
    frame = pl.DataFrame(
        {
            "user": [u for u in range(8) for _ in range(6)],
            "item": [*range(6), *range(3, 9)] * 4,
            "time": range(48),
        }
    )
    return recsys.split(recsys.load(frame), by="last", k=1)


def test_the_test_set_is_opened_for_a_reason() -> None:
    split = parts()
    scorer = recsys.fit(recsys.recipe("popular"), split.train).scorer
    for reason in (None, ""):
        with pytest.raises(InputError, match=r'evaluate: .* needs a reason.*part="valid"'):
            recsys.evaluate(scorer, split, reason=reason)
    assert split.test is not None
    assert len(split.test.openings) == 0
    assert len(recsys.evaluate(scorer, split, part="valid").per_user) > 0
    assert len(split.test.openings) == 0
    recsys.evaluate(scorer, split, reason="final table")
    assert len(split.test.openings) == 1
    assert "final table" in str(split.test.openings)
    with pytest.raises(InputError, match="no part 'train'"):
        recsys.evaluate(scorer, split, part="train")  # type: ignore[arg-type]


def test_settings_are_given_as_words_or_as_an_object() -> None:
    split = parts()
    rule = SplitRule(by="last", k=2)
    data = recsys.load(
        pl.DataFrame({"user": [0] * 6 + [1] * 6, "item": [*range(6)] * 2, "time": range(12)})
    )
    assert recsys.split(data, rule).rule == recsys.split(data, by="last", k=2).rule
    assert recsys.split(data, rule, k=1).rule == recsys.split(data, by="last", k=1).rule
    method, settings = recsys.recipe("mf", dim=2), Train(epochs=3, device="cpu")
    assert len(recsys.fit(method, split.train, settings=settings).history) == 3
    assert len(recsys.fit(method, split.train, settings=settings, epochs=2).history) == 2
    scorer = recsys.fit(recsys.recipe("popular"), split.train).scorer
    chosen = Evaluation(metrics=("recall@3", "ndcg@3"))
    reports = [
        recsys.evaluate(scorer, split, part="valid", settings=chosen),
        recsys.evaluate(scorer, split, part="valid", metrics=["recall@3", "ndcg@3"]),
        recsys.evaluate(scorer, split, part="valid", settings=chosen, metrics=("recall@3",)),
    ]
    assert [report.names for report in reports] == [("recall@3", "ndcg@3")] * 2 + [("recall@3",)]
    assert reports[0].per_user.equals(reports[1].per_user)


def test_an_unknown_word_is_answered_with_a_near_one() -> None:
    split = parts()
    with pytest.raises(InputError, match=r"train.*'epoch'.*did you mean 'epochs'"):
        recsys.fit(recsys.recipe("mf"), split.train, epoch=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="fingerprints has no effect"):
        recsys.compare(["a", "b"], fingerprints={"a": "1"})
    with pytest.raises(InputError, match="expected a list or a mapping of runs, got int"):
        recsys.compare(3)  # type: ignore[arg-type]


def test_a_method_is_given_as_a_name() -> None:
    split = parts()
    named = recsys.fit("popular", split.train).scorer
    built = recsys.fit(recsys.recipe("popular"), split.train).scorer
    assert named.state()[0].keys() == built.state()[0].keys()
    with pytest.raises(InputError, match="unknown method 'popula'"):
        recsys.fit("popula", split.train)
