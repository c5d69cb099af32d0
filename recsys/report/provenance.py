"""Where the numbers of the page come from, and the commands that produce them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from recsys.experiment.run import Run
from recsys.report.elements import dot, listing, method_id, run_id, verbatim
from recsys.report.html import Markup, element, join
from recsys.report.section import Section

__all__ = ["provenance"]


def provenance(section: Section, name: str) -> Markup:
    """Return settings, data, machine and record of each run.

    Args:
        section: the data set.
        name: prefix of the ids of its elements.
    """
    parts = []
    for order, method in enumerate(section.methods):
        runs = [_run(run, run_id(name, order, number)) for number, run in enumerate(method.runs)]
        heading = element("h4", dot(order), method.label)
        parts.append(element("section", heading, *runs, id=method_id(name, order)))
    return join(*parts)


def _run(run: Run, identifier: str) -> Markup:
    body = []
    for word, fact in _facts(run):
        body.append(element("dt", word))
        body.append(element("dd", fact if isinstance(fact, Markup) else str(fact)))
    config = element(
        "details", element("summary", "config.toml"), verbatim(run.experiment.to_toml())
    )
    summary = f"{run.name}, seed {run.experiment.train.seed}"
    return element(
        "details",
        element("summary", summary),
        element("dl", *body),
        config,
        id=identifier,
        class_="run",
    )


def _facts(run: Run) -> Iterator[tuple[str, object]]:
    meta, split = run.meta, run.split
    openings = [f"{opening.time}: {opening.reason}" for opening in run.openings()]
    yield "folder", element("code", run.folder)
    yield "method", meta.method
    yield "seeds", ", ".join(f"{part}.seed = {seed}" for part, seed in _seeds_of(run).items())
    yield "when", f"{meta.started} to {meta.finished}"
    yield "took", f"{meta.seconds} s in all, {meta.train_seconds} s training"
    yield "kept", f"epoch {meta.best_epoch}"
    yield "stopped", str(run.stopping)
    yield (
        "split",
        f"{split.rule}: {split.train:,} train, {split.valid:,} valid, {split.test:,} test pairs; "
        f"{split.users:,} users, {split.items:,} items",
    )
    yield "data", listing(split.history)
    yield "protocol", run.report("test").protocol
    yield "fingerprint of data and split", element("code", split.fingerprint)
    yield "fingerprint of the settings", element("code", meta.experiment)
    yield "fingerprint of the scorer", element("code", run.fingerprint)
    yield "machine", _machine(run)
    packages = meta.environment.packages or {}
    yield "versions", ", ".join(f"{name} {version}" for name, version in packages.items())
    yield f"openings of the test part ({len(openings)})", listing(openings)
    config = shlex.quote(str(run.folder / "config.toml"))
    yield "to make it again", element("code", f"recsys run {config} --out NEW")
    yield "to check it", element("code", f"recsys verify {shlex.quote(str(run.folder))}")


def _seeds_of(run: Run) -> dict[str, int]:
    """Return the seeds of a run, by section of its settings."""
    experiment = run.experiment
    seeds = {
        "split": experiment.split.seed,
        "train": experiment.train.seed,
        "evaluate": experiment.evaluate.seed,
    }
    return {section: seed for section, seed in seeds.items() if seed is not None}


def _machine(run: Run) -> str:
    environment = run.meta.environment
    facts = {
        "python": environment.python,
        "system": environment.system,
        "cpus": environment.cpus,
        "threads": environment.threads,
        "gpu": environment.gpu,
    }
    return "; ".join(f"{name} {'none' if fact is None else fact}" for name, fact in facts.items())
