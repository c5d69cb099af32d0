"""Where the numbers of the page come from: each run's settings, data, machine and record, and the commands that make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from recsys.config import to_dict
from recsys.experiment.execution import Run
from recsys.report.html import Markup, element, join
from recsys.report.html_parts import dot, listing, method_id, run_id, verbatim
from recsys.report.section import Section

__all__ = ["provenance"]


def provenance(section: Section, name: str) -> Markup:
    """What every number rests on, and how to have it again."""
    found = []
    for order, method in enumerate(section.methods):
        runs = [_run(run, run_id(name, order, seed)) for seed, run in enumerate(method.runs)]
        found.append(
            element(
                "section", element("h4", dot(order), method.label), *runs, id=method_id(name, order)
            )
        )
    return join(*found)


def _run(run: Run, place: str) -> Markup:
    meta, environment = run.meta, dict(run.meta.get("environment", {}))
    packages = environment.pop("packages", {})
    split = meta["split"]
    openings = _openings(run)
    facts: list[tuple[str, object]] = [
        ("folder", element("code", run.folder)),
        ("method", meta.get("method")),
        ("seeds", ", ".join(f"{part}.seed = {value}" for part, value in _seeds_of(run))),
        ("when", f"{meta.get('started')} to {meta.get('finished')}"),
        ("took", f"{meta.get('seconds')} s in all, {meta.get('train_seconds')} s training"),
        ("kept", f"epoch {meta.get('best_epoch')}"),
        ("stopped", str(run.stopping)),
        (
            "split",
            f"{split.get('rule')}: {split.get('train'):,} train, {split.get('valid'):,} valid, {split.get('test'):,} test pairs; "
            f"{split.get('users'):,} users, {split.get('items'):,} items",
        ),
        ("data", listing(split.get("history", ()))),
        ("protocol", run.report("test").protocol),
        ("fingerprint of data and split", element("code", split.get("fingerprint"))),
        ("fingerprint of the settings", element("code", meta.get("experiment"))),
        ("fingerprint of the scorer", element("code", run.fingerprint)),
        (
            "machine",
            "; ".join(
                f"{key} {'none' if value is None else value}" for key, value in environment.items()
            ),
        ),
        ("versions", ", ".join(f"{key} {value}" for key, value in packages.items())),
        ("commit", meta.get("commit", "not stored")),
        (f"openings of the test part ({len(openings)})", listing(openings)),
        (
            "to make it again",
            element("code", f"recsys run {shlex.quote(str(run.folder / 'config.toml'))} --out NEW"),
        ),
        ("to check it", element("code", f"recsys verify {shlex.quote(str(run.folder))}")),
    ]
    body = [
        part
        for word, fact in facts
        for part in (
            element("dt", word),
            element("dd", fact if isinstance(fact, Markup) else str(fact)),
        )
    ]
    config = element(
        "details", element("summary", "config.toml"), verbatim(run.experiment.to_toml())
    )
    seed = f"seed {run.experiment.train.seed}"
    return element(
        "details",
        element("summary", f"{run.name}, {seed}"),
        element("dl", *body),
        config,
        id=place,
        class_="run",
    )


def _seeds_of(run: Run) -> Iterable[tuple[str, int]]:
    for part in ("split", "train", "evaluate"):
        seed = to_dict(getattr(run.experiment, part)).get("seed")
        if seed is not None:
            yield part, seed


def _openings(run: Run) -> list[str]:
    """When the test part was opened, and what for, as far as there is a record."""
    path = run.folder / "openings.jsonl"
    entries = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )
    return [f"{entry.get('time')}: {entry.get('reason')}" for entry in entries]
