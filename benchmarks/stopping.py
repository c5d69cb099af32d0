"""Which rows of the multimodal and the denoising tables rest on settings whose training ended too early, by the logs of their trials.

    python benchmarks/stopping.py

Needs no data. A log keeps the best epoch of a trial, not its curve; so this finds the trials that were still rising at their last epoch and those
whose best was the very first evaluation when patience ended them, and cannot find a curve that was rising again. The tables of new runs have
their marks from the curves themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import denoising
import multimodal
from harness import trials_of

from recsys.training.stopping import marks


def ended(best: int, every: int, epochs: int, patience: int | None) -> str:
    """The marks of a trial of which only the best epoch is known: "", "still rising" or "early dip"."""
    whole = len(range(every, epochs, every)) + 1
    done = whole if patience is None else min(whole, -(-best // every) + patience)
    at = [min(every * (n + 1), epochs) for n in range(done)]
    curve = [(epoch, float(epoch == best)) for epoch in at]
    return ", ".join(marks(curve, "epochs" if done == whole else "patience"))


def rows() -> Iterator[tuple[str, str, int, int, str]]:
    """Table, row, best epoch and allowed epochs of the chosen trial, marks."""
    for data, trials in (("online-retail", 4), ("tiktok", multimodal.N_TRIALS)):
        for method, (epochs, _) in multimodal.PACE[data].items():
            log = trials_of(multimodal.log_of(data, method))[:trials]
            best = max(log, key=lambda trial: trial["value"])["epoch"]
            patience = multimodal.METHODS[method][2].get("patience", multimodal.PATIENCE[data])
            mark = ended(best, min(4, epochs), epochs, patience)
            yield f"multimodal, {data}", method, best, epochs, mark
    for data, cells in denoising.CELLS.items():
        for backbone, denoiser in cells:
            log = trials_of(denoising.log_of(data, backbone, denoiser))[: denoising.N_TRIALS]
            if backbone == "popular" or not log:
                continue
            train = denoising.tree_of(data, backbone, denoiser, "", {})["train"]
            best = max(log, key=lambda trial: trial["value"])["epoch"]
            mark = ended(best, train["eval_every"], train["epochs"], train["patience"])
            yield f"denoising, {data}", f"{backbone} {denoiser}", best, train["epochs"], mark


def main() -> None:
    records = list(rows())
    print("| table | row | best epoch of the chosen trial | of | mark |\n|---|---|---:|---:|---|")
    for table, row, best, epochs, mark in records:
        if mark:
            print(f"| {table} | {row} | {best} | {epochs} | {mark} |")
    print(f"\n{sum(bool(row[-1]) for row in records)} of {len(records)} rows are marked.")


if __name__ == "__main__":
    main()
