"""Every mistake a user can make gets one clear line and exit code 2, and leaves nothing half-written behind.

The cases below are run through the real command line. `python tests/test_bad_input.py` writes what they print to docs/bad-input.md.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import lzma
import os
import pickle
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "bad-input.md"

LOG = "user,item,rating,time\n" + "".join(
    f"u{user:02d},i{user % 2 + 2 * ((7 * user + 4 * j) % 15):02d},{1 + (user + j) % 5},{1_700_000_000 + 100 * user + 86_400 * j}\n"
    for user in range(30)
    for j in range(8)
)
MF = """[data]
path = "log.csv"

[model]
name = "mf"
dim = 8

[train]
epochs = 2
batch_size = 64
device = "cpu"

[evaluate]
metrics = ["recall@5", "ndcg@5"]
monitor = "ndcg@5"
"""
HEAD = "user,item,rating\n"


@dataclass(frozen=True)
class Case:
    """One mistake.

    Args:
        what: the mistake, in words.
        command: the arguments of `recsys`.
        says: pieces that the line must hold: the place, the cause, the remedy.
        files: what lies in the working folder besides the usual; None removes.
        before: what else is done before, with its words for the page.
        around: what is true while the command runs, with its words for the page.
        theirs: a pattern whose group is what a library or the operating system said; the page shows dots there.
        real: in a process of its own, after this.
    """

    what: str
    command: str
    says: tuple[str, ...]
    files: Mapping[str, str | bytes | None] = field(default_factory=dict)
    before: tuple[str, Callable[[Path], object]] | None = None
    around: tuple[str, Callable[[], contextlib.AbstractContextManager[object]]] | None = None
    theirs: str = ""
    real: Callable[[], None] | None = None


@dataclass(frozen=True)
class Found:
    """What a case did: its exit code, standard output and error, and the files that are new, gone or different."""

    code: object
    out: str
    err: str
    changed: frozenset[str]


def shorten(path: str, share: float = 0.5) -> Callable[[Path], object]:
    """Cut a file off."""

    def cut(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: int(len(data) * share)])

    return cut


def edit(path: str, old: str, new: str) -> Callable[[Path], object]:
    """Replace text in a file."""

    def change(folder: Path) -> None:
        text = (folder / path).read_text(encoding="utf-8")
        assert old in text
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")

    return change


def foreign(path: str) -> Callable[[Path], object]:
    """A safetensors file that another program wrote."""
    return lambda folder: safetensors.torch.save_file({"weight": torch.zeros(2, 2)}, folder / path)


def swap(source: str, target: str) -> Callable[[Path], object]:
    """Put the file of one run into another."""
    return lambda folder: shutil.copyfile(folder / source, folder / target)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Whatever is flushed to the disk finds it full."""
    with mock.patch("os.fsync", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
        yield


def plain() -> None:
    """A process of its own, as it comes."""


def small_files() -> None:
    """No file may grow beyond 100 bytes, as `ulimit -f` has it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


COMMANDS = [
    Case("A command that is none", "runn mf.toml", ("'runn'", "recsys --help"), real=plain),
    Case("An option that is none", "run mf.toml --outt runs/new", ("--outt", "--out", "recsys run --help")),
    Case("An argument left out", "check", ("config", "recsys check --help")),
    Case("Nothing to run", "run", ("no experiment", "--resume RUN")),
    Case("Two words that exclude each other", "run mf.toml --resume runs/half --out runs/new", ("--resume and --out",)),
    Case("No items asked for", "recommend runs/done -k 0", ("'-k'", "greater than or equal to 1"), theirs=r"'--k': ([^;]*)"),
    Case("A count that is none", "recommend runs/done --batch many", ("--batch",), theirs=r"'--batch': ([^;]*)"),
    Case("A form that is none", "compare runs/done --format excel", ("--format", "excel")),
    Case("An override without a value", "check mf.toml train.lr", ("'train.lr' is not an assignment", "section.key=value")),
    Case("An override below a value", "check mf.toml model.dim.high=1", ("'dim' in 'model.dim.high'", "drop what follows")),
    Case("A method that is none", "models lightgnc", ("'lightgnc'", "did you mean 'lightgcn'?")),
    Case("A data set that is none", "data show gowala", ("'gowala'", "did you mean 'gowalla'?", "recsys data list")),
    Case("A name that no data set may have", "data add 'My Data' --path log.csv", ("'My Data'", "lower-case")),
    Case("A file that is not there to be named", "data add mine --path nowhere.csv", ("nowhere.csv: no such file", "check the path")),
    Case("Nothing to be named", "data add mine", ("either a path or urls", "--path")),
]

SETTINGS = [
    Case("No such experiment", "check mff.toml", ("mff.toml: no such file", "did you mean 'mf.toml'?")),
    Case("A folder for an experiment", "check runs", ("runs: cannot be read", "check the path"), theirs=r"read: ([^;]*)"),
    Case("TOML that is none", "check bad.toml", ("bad.toml", "line 2"), {"bad.toml": '[model]\nname = mf"\n'}, theirs=r"TOML: (.*) \("),
    Case("An experiment that is not text", "check bad.toml", ("bad.toml: not valid TOML",), {"bad.toml": "name = 'caf\xe9'\n".encode("latin1")}, theirs=r"TOML: ([^;]*)"),
    Case("An unknown section", "check bad.toml", ("bad.toml", "'trian'", "did you mean 'train'?"), {"bad.toml": MF.replace("[train]", "[trian]")}),
    Case("An unknown key", "check bad.toml", ("bad.toml: [train]", "'epoch'", "did you mean 'epochs'?"), {"bad.toml": MF.replace("epochs", "epoch")}),
    Case("A key as other libraries call it", "check mf.toml model.embedding_size=64", ("mf.toml: [model]", "did you mean 'dim'?")),
    Case("An unknown key further down", "check mf.toml model.sampler.negative=4", ("mf.toml: [model] sampler", "did you mean 'negatives'?")),
    Case("A value where a section belongs", "check mf.toml train=fast", ("mf.toml: 'train' is a section", "[train]")),
    Case("No method", "check bad.toml", ("bad.toml: [model]", "'name' is missing", "lightgcn"), {"bad.toml": '[data]\npath = "log.csv"\n'}),
    Case("An unknown method", "check mf.toml model.name=ligthgcn", ("mf.toml: [model] name", "did you mean 'lightgcn'?")),
    Case("A method as others call it", "check mf.toml model.name=BPR-MF", ("mf.toml: [model] name", "did you mean 'mf'?")),
    Case("A method that is no word", "check mf.toml model.name=3", ("mf.toml: [model] name", "'3'", "known: ")),
    Case("An unknown metric", """check mf.toml 'evaluate.metrics=["ndgc@10"]'""", ("mf.toml: [evaluate]", "ndgc", "did you mean 'ndcg@10'?")),
    Case("A metric at 0", """check mf.toml 'evaluate.metrics=["ndcg@0"]'""", ("mf.toml: [evaluate]", "ndcg@0")),
    Case("A metric twice", """check mf.toml 'evaluate.metrics=["ndcg@5", "ndcg@5"]'""", ("mf.toml: [evaluate]", "ndcg@5 twice")),
    Case("No metric", "check mf.toml evaluate.metrics=[]", ("mf.toml: [evaluate]", "metrics is empty")),
    Case("A monitor that is no metric", "check mf.toml evaluate.monitor=loss", ("mf.toml: [evaluate]", "monitor", "known: ")),
    Case("Metrics over lists from drawn candidates", """check mf.toml evaluate.candidates=sampled 'evaluate.metrics=["coverage@5"]'""", ("[evaluate]", "coverage@5", "candidates = 'all'")),
    Case("Text for a number", """check bad.toml""", ("bad.toml: [model]", "dim = '64'", "integer"), {"bad.toml": MF.replace("dim = 8", 'dim = "64"')}),
    Case("A fraction for a count", "check mf.toml train.epochs=2.5", ("mf.toml: [train]", "epochs = 2.5")),
    Case("A word for yes or no", "check mf.toml evaluate.keep_valid=maybe", ("mf.toml: [evaluate]", "keep_valid = 'maybe'")),
    Case("Yes or no as text, outside of the sections", "check mf.toml refit=yes", ("mf.toml", "'refit' is true or false")),
    Case("A dimension of 0", "check mf.toml model.dim=0", ("mf.toml: [model]", "dim = 0")),
    Case("A negative step size", "check mf.toml train.lr=-0.1", ("mf.toml: [train]", "lr = -0.1")),
    Case("A step size that is no number", "check mf.toml train.lr=nan", ("mf.toml: [train]", "lr = nan")),
    Case("An endless step size", "check mf.toml train.lr=inf", ("mf.toml: [train]", "lr = inf")),
    Case("A negative count", "check mf.toml model.sampler.negatives=-1", ("mf.toml: [model] sampler", "negatives = -1")),
    Case("A negative seed", "check mf.toml train.seed=-1", ("mf.toml: [train]", "seed = -1")),
    Case("A seed beyond 64 bits", "check mf.toml train.seed=99999999999999999999", ("mf.toml: [train]", "seed = 99999999999999999999", "64 bits")),
    Case("An unknown optimiser", "check mf.toml train.optimizer=adma", ("mf.toml: [train]", "optimizer = 'adma'", "adam")),
    Case("An unknown pool of negatives", "check mf.toml model.sampler.pool=inbatch", ("mf.toml: [model] sampler", "pool = 'inbatch'", "in-batch")),
    Case("An unknown loss", "check mf.toml model.loss.kind=bpr2", ("mf.toml: [model] loss", "kind = 'bpr2'", "bpr")),
    Case("An unknown rule for the split", "check mf.toml split.by=random", ("mf.toml: [split]", "by = 'random'", "ratio")),
    Case("Shares that do not add up", "check mf.toml split.ratios=[0.8,0.1,0.2]", ("mf.toml: [split]", "[0.8, 0.1, 0.2]", "add up to 1")),
    Case("Shares of two parts", "check mf.toml split.ratios=[0.8,0.2]", ("mf.toml: [split]", "ratios", "missing")),
    Case("A share that is no number", "check mf.toml split.ratios=[0.8,nan,0.2]", ("mf.toml: [split]", "ratios")),
    Case("A split in time that does not say when", "check mf.toml split.by=time", ("mf.toml: [split]", "test_from")),
    Case("A setting that its optimiser cannot do", "run mf.toml -q --out runs/new train.optimizer=adamw train.rows=touched", ("[train] rows", "adamw", "rows = 'dense'")),
    Case("A device that is none", "run mf.toml -q --out runs/new train.device=gpu", ("[train] device", "'gpu'", "use auto or cpu"), theirs=r"used: ([^;]*)"),
    Case("A device that is not there", "run mf.toml -q --out runs/new train.device=cuda:99", ("[train] device", "'cuda:99'", "use auto or cpu"), theirs=r"used: ([^;]*)"),
]

DATA = [
    Case("No such file", "data stats logs.csv", ("logs.csv: no such file", "log.csv")),
    Case("An empty file", "data stats a.csv", ("a.csv: the file is empty",), {"a.csv": ""}, real=plain),
    Case("A header and nothing else", "data stats a.csv", ("a.csv: there is a header and no row",), {"a.csv": HEAD}),
    Case("A row too long", "data stats a.csv", ("a.csv, line 3", "4 fields"), {"a.csv": HEAD + "u1,i1,5\nu1,i2,4,9\n"}),
    Case("A row too short", "data stats a.csv", ("a.csv, line 3", "2 fields"), {"a.csv": HEAD + "u1,i1,5\nu1,i2\n"}),
    Case("A quote that is never closed", "data stats a.csv", ("a.csv, after line 2", "quote"), {"a.csv": HEAD + 'u1,i1,5\nu1,"i2,4\nu2,i1,3\n'}),
    Case("A rating that is no number", "data stats a.csv", ("a.csv, line 3, column 'rating'", "'good'"), {"a.csv": HEAD + "u1,i1,5\nu1,i2,good\n"}),
    Case("A rating that is not finite", "data stats a.csv", ("a.csv, line 3, column 'rating'", "'inf'"), {"a.csv": HEAD + "u1,i1,5\nu1,i2,inf\n"}),
    Case("A rating that is NaN", "data stats a.csv", ("a.csv, line 2, column 'rating'", "'nan'"), {"a.csv": HEAD + "u1,i1,nan\nu1,i2,4\n"}),
    Case("A user left out", "data stats a.csv", ("a.csv, line 3", "no user", 'nulls = "drop"'), {"a.csv": HEAD + "u1,i1,5\n,i2,4\n"}),
    Case("A time that is none", "data stats a.csv", ("a.csv, line 3, column 'time'", "'soon'", "unix seconds"), {"a.csv": "user,item,time\nu1,i1,1700000000\nu1,i2,soon\n"}),
    Case("Text that is not UTF-8", "data stats a.csv", ("a.csv, line 3, byte 4", "0xe9", "iconv"), {"a.csv": (HEAD + "u1,i1,5\nu1,\xe92,4\n").encode("latin1")}),
    Case("A column that is not there", "data stats log.csv user=users", ("log.csv", "'users'", "did you mean 'user'?")),
    Case("Columns that nobody could guess", "data stats a.csv", ("a.csv", "no column looks like the users", "who, what"), {"a.csv": "who,what\n1,2\n"}),
    Case("A column beyond the last", "data stats log.csv user=7", ("log.csv", "user = 7", "from 0 to 3")),
    Case("One column for two", "data stats log.csv user=item item=item", ("log.csv", "'item'", "a column for each")),
    Case("A separator that is another", "data stats log.csv 'separator=\";\"'", ("log.csv, line 1", "';'", "','")),
    Case("Two columns of one name", "data stats a.csv", ("a.csv, line 1", "'item'", "rename"), {"a.csv": "user,item,item\nu1,i1,i2\n"}),
    Case("A header that may be none", "data stats a.csv", ("a.csv, line 1", "header = true"), {"a.csv": "anna,bread\nbert,cheese\n"}),
    Case("An archive that is cut off", "data stats a.csv.gz", ("a.csv.gz", "damaged", "again"), {"a.csv.gz": gzip.compress(LOG.encode(), mtime=0)[:200]}, theirs=r"\((.*)\)"),
    Case("An archive that is damaged", "data stats a.csv.xz", ("a.csv.xz", "damaged", "again"), {"a.csv.xz": lzma.compress(LOG.encode())[:-40] + bytes(40)}, theirs=r"\((.*)\)"),
    Case("A file that is not what its name says", "data stats a.csv.gz", ("a.csv.gz", "not what its name says"), {"a.csv.gz": LOG}, theirs=r"\((.*)\)"),
    Case("A Parquet file that is cut off", "data stats a.parquet", ("a.parquet", "damaged"), {"a.parquet": parquet(pl.DataFrame({"user": [1], "item": [2]}))[:-20]}, theirs=r"\((.*)\)"),
    Case("A Parquet file without rows", "data stats a.parquet", ("a.parquet", "no rows"), {"a.parquet": parquet(pl.DataFrame(schema={"user": pl.Int64, "item": pl.Int64}))}),
    Case("A pickle", "data stats a.pkl", ("a.pkl", ".pkl is not a format", "give CSV"), {"a.pkl": pickle.dumps({"user": [1]}, protocol=0)}),
    Case("A pickle under another name", "data stats a.npz", ("a.npz",), {"a.npz": pickle.dumps({"user": [1]}, protocol=4)}),
    Case("Python objects inside of arrays", "data stats a.npz", ("a.npz",), {"a.npz": npz(row=np.array([{}, {}], dtype=object), col=np.arange(2))}),
    Case("A negative id where ids are row numbers", "data stats a.txt format=adjacency", ("a.txt, line 2", "-4"), {"a.txt": "0 1 2\n1 -4 3\n"}),
    Case("A word in lists of numbers", "data stats a.txt format=adjacency", ("a.txt, line 2", "'x'", "adjacency"), {"a.txt": "0 1 2\n1 x 3\n"}),
    Case("A folder of many files", "data stats files/", ("files", "2 files: a.csv, b.csv"), {"files/a.csv": LOG, "files/b.csv": LOG}),
    Case("Nothing to read", "check --data bad.toml", ("[data]", "neither source nor path", "source ="), {"bad.toml": '[model]\nname = "mf"\n'}),
    Case("Test without train", "check --data bad.toml", ("[data]", "test without train"), {"bad.toml": '[data]\ntest = "log.csv"\n[model]\nname = "mf"\n'}),
    Case("An unknown data set", "check --data mf.toml data.path=none data.source=online-retial", ("'online-retial'", "did you mean 'online-retail'?")),
    Case("A data set that a program cannot fetch", "data fetch retailrocket", ("'retailrocket'", "cannot be downloaded", "(1)")),
    Case("A data set that is not here, offline", "data stats gowalla", ("'gowalla'", "RECSYS_OFFLINE"), around=("RECSYS_OFFLINE=1", lambda: mock.patch.dict(os.environ, RECSYS_OFFLINE="1"))),
    Case("A mistake in an entry of one's own", "data show mine", ("home/catalog/mine.toml", "'paht'", "did you mean 'path'?"), {"home/catalog/mine.toml": 'folder = "."\n[read]\npaht = "log.csv"\n'}),
    Case("Ratings asked for that are not there", "data stats a.csv min_weight=4", ("[data]", "min_weight", "weight ="), {"a.csv": "user,item\nu1,i1\n"}),
    Case("A threshold that is NaN", "data stats log.csv min_weight=nan", ("min_weight = nan",)),
    Case("A threshold above all ratings", "data stats log.csv min_weight=9", ("[data]", "no interaction is left", "240 -> 0")),
    Case("A core that is empty", "data stats log.csv user_core=100", ("[data]", "no interaction is left", "240 -> 0")),
    Case("A negative core", "data stats log.csv user_core=-2", ("user_core = -2",)),
    Case("A date that is none", "data stats log.csv since=yesterday", ("since", "'yesterday'", "ISO date"), theirs=r"as in (\d{4}-\d\d-\d\d)"),
    Case("A window after the end", "data stats log.csv since=2099-01-01", ("[data]", "no interaction is left")),
    Case("A pair twice where that is forbidden", "data stats a.csv duplicates=error", ("[data]", "'u1'", "'i1'", "duplicates"), {"a.csv": HEAD + "u1,i1,5\nu1,i1,4\n"}),
    Case("A behaviour that never occurs", "data stats a.csv 'behaviours=[\"buyy\"]'", ("[data] behaviours", "did you mean 'buy'?"), {"a.csv": "user,item,event\nu1,i1,buy\nu1,i2,view\n"}),
    Case("Titles without a title", "data stats log.csv titles=a.csv", ("a.csv", "titles"), {"a.csv": "item,price\ni01,3\n"}),
]

SPLITS = [
    Case("The last of each user, without times", "run mf.toml -q --out runs/new data.path=a.csv split.by=last", ("[split]", "needs times", "[data]"), {"a.csv": re.sub(r",\d+\n", "\n", LOG).replace(",time", "")}),
    Case("A point in time before everything", "run mf.toml -q --out runs/new split.by=time split.test_from=2001-01-01", ("[split]", "no train row")),
    Case("A point in time after everything", "run mf.toml -q --out runs/new split.by=time split.test_from=2099-01-01", ("[split]", "test_from 2099-01-01", "earlier point")),
    Case("Points in time the wrong way round", "run mf.toml -q --out runs/new split.by=time split.valid_from=0.9 split.test_from=0.5", ("[split]", "later than", "exchange")),
    Case("A point in time that is none", "run mf.toml -q --out runs/new split.by=time split.test_from=soon", ("[split] test_from", "'soon'"), theirs=r"as in (\d{4}-\d\d-\d\d)"),
    Case("Too few new items", "run mf.toml -q --out runs/new split.by=new-item split.new_items=0.01", ("[split] new_items", "0.01 of 30 items")),
    Case("A seed beyond its generator", "run mf.toml -q --out runs/new split.by=libcml split.seed=5000000000", ("[split] seed", "32 bits")),
    Case("Parts asked for that are not there", "run mf.toml -q --out runs/new split.by=presplit", ("[split]", "presplit")),
]

TRAINING = [
    Case("A step size far too large", "run mf.toml -q --out runs/new train.optimizer=sgd train.lr=1e30", ("epoch 1", "loss", "lower train.lr")),
    Case("More memory than there is", "run mf.toml -q --out runs/new model.dim=1000000000000", ("memory",)),
    Case("An item-item matrix that does not fit", "run mf.toml -q --out runs/new 'model={name=\"ease\", memory_gb=1e-6}'", ("[model] ease", "memory_gb = 1e-06", "item_core")),
    Case("Ages without times", "run mf.toml -q --out runs/new data.path=a.csv 'model={name=\"popular\", half_life=7}'", ("[model] half_life", "time"), {"a.csv": re.sub(r",\d+\n", "\n", LOG).replace(",time", "")}),
    Case("A folder that is taken", "run mf.toml -q --out runs/done", ("runs/done: exists already", "--resume runs/done")),
    Case("A file where the folder should be", "run mf.toml -q --out log.csv", ("log.csv: exists already", "another --out")),
    Case("A folder below a file", "run mf.toml -q --out log.csv/new", ("log.csv/new", "cannot be written"), theirs=r"written: ([^;]*)"),
    Case("A full disk", "run mf.toml -q --out runs/new", ("runs/new", "the disk is full", "free some space"), around=("the disk is full", full_disk)),
    Case("No room for the file", "run mf.toml -q --out runs/new", ("runs/new", "cannot be written", "free some space"), around=("`ulimit -f` allows no more", contextlib.nullcontext), real=small_files, theirs=r"written: ([^;]*)"),
    Case("Resuming what is no run", "run -q --resume runs", ("runs: is not the folder of a run", "`recsys run` printed")),
    Case("Resuming with other settings", "run mf.toml -q --resume runs/half train.lr=0.5", ("runs/half", "other settings", "start a new run")),
    Case("Resuming on other data", "run -q --resume runs/half", ("runs/half", "data have changed", "restore the data"), {"log.csv": LOG + "u99,i01,5,1700000000\n"}),
    Case("Resuming without the data", "run -q --resume runs/half", ("log.csv: no such file",), {"log.csv": None}),
    Case("A checkpoint that is cut off", "run -q --resume runs/half", ("runs/half/fit/checkpoint.safetensors", "run again"), before=("the checkpoint is cut off", shorten("runs/half/fit/checkpoint.safetensors")), theirs=r"file: ([^;]*)"),
    Case("A checkpoint of another run", "run -q --resume runs/half", ("runs/half/fit/checkpoint.safetensors", "other settings"), before=("the checkpoint is that of `runs/other`", swap("runs/other/fit/checkpoint.safetensors", "runs/half/fit/checkpoint.safetensors"))),
    Case("A checkpoint of another program", "run -q --resume runs/half", ("runs/half/fit/checkpoint.safetensors", "another program"), before=("the checkpoint is foreign", foreign("runs/half/fit/checkpoint.safetensors"))),
    Case("A scorer for a checkpoint", "run -q --resume runs/half", ("runs/half/fit/checkpoint.safetensors",), before=("the checkpoint is a copy of `scorer.safetensors`", swap("runs/done/scorer.safetensors", "runs/half/fit/checkpoint.safetensors"))),
    Case("A pickle for a checkpoint", "run -q --resume runs/half", ("runs/half/fit/checkpoint.safetensors", "no readable safetensors"), {"runs/half/fit/checkpoint.safetensors": pickle.dumps({"w": [1.0] * 9})}, theirs=r"file: ([^;]*)"),
]

RUNS = [
    Case("Recommending from what is no run", "recommend log.csv", ("log.csv: is not the folder of a run",)),
    Case("Recommending from a run that is not finished", "recommend runs/half", ("runs/half: is not finished", "recsys run --resume runs/half")),
    Case("Evaluating a run that is not finished", "evaluate runs/half", ("runs/half: is not finished", "recsys run --resume runs/half")),
    Case("Comparing with a run that is not finished", "compare runs/done runs/half", ("runs/half: is not finished", "recsys run --resume runs/half")),
    Case("Verifying a run that is not finished", "verify runs/half", ("runs/half: is not finished",)),
    Case("A run of a newer version", "recommend runs/done", ("runs/done", "format 99", "update recsys"), before=("`run.json` says format 99", edit("runs/done/run.json", '"format": 1', '"format": 99'))),
    Case("A run.json that is damaged", "recommend runs/done", ("runs/done/run.json",), before=("`run.json` is cut off", shorten("runs/done/run.json")), theirs=r"read: ([^;]*)"),
    Case("A run.json that is something else", "recommend runs/done", ("runs/done", "not of a run"), {"runs/done/run.json": "[1, 2]\n"}),
    Case("A run.json with something left out", "verify runs/done", ("runs/done", "without 'experiment'"), before=("`experiment` is struck from `run.json`", edit("runs/done/run.json", '"experiment"', '"something"'))),
    Case("A configuration that was edited", "verify runs/done", ("runs/done/config.toml: [train]", "lr = -1"), before=("`lr = -1` in `config.toml`", edit("runs/done/config.toml", "lr = 0.001", "lr = -1.0"))),
    Case("A configuration that is damaged", "verify runs/done", ("runs/done/config.toml",), before=("`config.toml` is cut off", shorten("runs/done/config.toml", 0.101)), theirs=r"read: ([^;]*)"),
    Case("A scorer that is cut off", "recommend runs/done", ("runs/done/scorer.safetensors", "run again"), before=("the scorer is cut off", shorten("runs/done/scorer.safetensors")), theirs=r"file: ([^;]*)"),
    Case("A scorer that is gone", "recommend runs/done", ("runs/done/scorer.safetensors: no such file",), {"runs/done/scorer.safetensors": None}),
    Case("A pickle for a scorer", "recommend runs/done", ("runs/done/scorer.safetensors",), {"runs/done/scorer.safetensors": pickle.dumps([1.0] * 99)}, theirs=r"file: ([^;]*)"),
    Case("A scorer of another program", "recommend runs/done", ("runs/done/scorer.safetensors", "another program"), before=("the scorer is foreign", foreign("runs/done/scorer.safetensors"))),
    Case("A checkpoint for a scorer", "recommend runs/done", ("runs/done/scorer.safetensors", "no scorer"), before=("the scorer is a copy of a checkpoint", swap("runs/done/fit/checkpoint.safetensors", "runs/done/scorer.safetensors"))),
    Case("A scorer of other data", "recommend runs/done", ("runs/done", "differ in size", "mixed"), before=("the scorer is that of `runs/few`", swap("runs/few/scorer.safetensors", "runs/done/scorer.safetensors"))),
    Case("A vocabulary that is cut off", "recommend runs/done", ("runs/done/items.parquet", "run again"), before=("`items.parquet` is cut off", shorten("runs/done/items.parquet")), theirs=r"read: ([^;]*)"),
    Case("A vocabulary with other columns", "recommend runs/done", ("runs/done/users.parquet",), {"runs/done/users.parquet": parquet(pl.DataFrame({"name": ["u00"]}))}),
    Case("Learning data beyond the vocabulary", "recommend runs/done", ("runs/done", "seen.parquet"), {"runs/done/seen.parquet": parquet(pl.DataFrame({"user": [99], "item": [99]}))}),
    Case("A report that is gone", "compare runs/done runs/other", ("runs/done/test",), {"runs/done/test/report.json": None}),
    Case("A report that is cut off", "compare runs/done runs/other", ("runs/done/test/per_user.parquet",), before=("`per_user.parquet` is cut off", shorten("runs/done/test/per_user.parquet"))),
    Case("Runs of different splits", "compare runs/done runs/seed", ("done", "seed", "one data set, split and protocol")),
    Case("A metric that no run has", "compare runs/done runs/other --metric ndcg@7", ("ndcg@7", "did you mean 'ndcg@5'?")),
    Case("A baseline that is none", "compare runs/done runs/other --baseline dune", ("'dune'", "did you mean 'done'?")),
    Case("An unknown metric", "evaluate runs/done 'metrics=[\"recal@5\"]'", ("[evaluate]", "did you mean 'recall@5'?")),
    Case("A setting that is not of evaluation", "evaluate runs/done epochs=3", ("[evaluate]", "'epochs'", "known: ")),
    Case("A part that is none", "evaluate runs/done --part train", ("runs/done", "'train'", "test and valid")),
    Case("The validation part of a run that learned from it", "evaluate runs/refit --part valid", ("runs/refit", "refit", "test and valid")),
    Case("Evaluating on other data", "evaluate runs/done", ("runs/done", "data have changed", "restore the data"), {"log.csv": LOG + "u99,i01,5,1700000000\n"}),
    Case("Verifying without the data", "verify runs/done", ("log.csv: no such file",), {"log.csv": None}),
    Case("Auditing what is no experiment", "audit nothing.toml", ("nothing.toml: no such file",)),
]

RECOMMENDING = [
    Case("A user that nobody knows", "recommend runs/done --user u77 --unknown error", ("users", "'u77'", "did you mean '")),
    Case("Users in two ways", "recommend runs/done --user u01 --users ids.txt", ("--user and --users", "file"), {"ids.txt": "u01\n"}),
    Case("A file of users that is not there", "recommend runs/done --users ids.txt", ("ids.txt: no such file",)),
    Case("A file of users that is empty", "recommend runs/done --users ids.txt", ("ids.txt: holds no id", "one id per line"), {"ids.txt": "\n\n"}),
    Case("A file of users that is not text", "recommend runs/done --users ids.txt", ("ids.txt: cannot be read",), {"ids.txt": b"u01\n\xff\xfe\n"}, theirs=r"read: ([^;]*)"),
    Case("A Parquet file of users that is cut off", "recommend runs/done --users ids.parquet", ("ids.parquet: cannot be read",), {"ids.parquet": parquet(pl.DataFrame({"id": ["u01"]}))[:-9]}, theirs=r"read: ([^;]*)"),
    Case("A Parquet file of users without a column", "recommend runs/done --users ids.parquet", ("ids.parquet: holds no id",), {"ids.parquet": parquet(pl.DataFrame())}),
    Case("An item that nobody knows", "recommend runs/done --candidates items.txt", ("candidates", "'i98'", "1 of 2"), {"items.txt": "i01\ni98\n"}),
    Case("Nothing left to recommend", "recommend runs/done --candidates items.txt --exclude items.txt", ("candidates", "no item is left"), {"items.txt": "i01\n"}),
    Case("An ending that is none", "recommend runs/done --out best.xlsx", ("best.xlsx", "'.xlsx'", ".parquet, .csv, .jsonl")),
    Case("A folder that holds something else", "recommend runs/done --out runs", ("runs: exists already", "another folder")),
    Case("A file where the folder should be", "recommend runs/done --out plain", ("plain: exists already", "another folder"), {"plain": "mine\n"}),
    Case("A folder with the parts of another job", "recommend runs/done --out parts -k 7", ("parts: holds the parts of another job (k differ", "another folder"), before=("`recsys recommend runs/done --out parts -k 3` ran before", lambda _: invoke("recommend runs/done --out parts -k 3"))),
    Case("A part that is cut off", "recommend runs/done --out parts -k 3", ("parts/part-00000.parquet", "delete this part"), before=("the first part of the job is cut off", lambda folder: (invoke("recommend runs/done --out parts -k 3"), shorten("parts/part-00000.parquet")(folder))), theirs=r"read: ([^;]*)"),
    Case("A manifest that is damaged", "recommend runs/done --out parts -k 3", ("parts/manifest.json",), before=("the manifest of the job is cut off", lambda folder: (invoke("recommend runs/done --out parts -k 3"), shorten("parts/manifest.json")(folder))), theirs=r"read: ([^;]*)"),
    Case("A full disk", "recommend runs/done --out best.parquet", ("best.parquet", "the disk is full"), {"best.parquet": "yesterday's\n"}, around=("the disk is full", full_disk)),
    Case("A folder below a file", "recommend runs/done --out log.csv/best.csv", ("log.csv/best.csv", "cannot be written"), theirs=r"written: ([^;]*)"),
    Case("A comparison into a folder", "compare runs/done runs/other --format csv --out runs", ("runs", "cannot be written"), theirs=r"written: ([^;]*)"),
]

GROUPS = {
    "The command line": COMMANDS,
    "Settings": SETTINGS,
    "Data": DATA,
    "Splits": SPLITS,
    "Training": TRAINING,
    "Runs": RUNS,
    "Recommending": RECOMMENDING,
}
ALL = [(group, case) for group, cases in GROUPS.items() for case in cases]


def invoke(command: str) -> tuple[object, str, str]:
    """The command line in this process: exit code (or the exception that got out), standard output and standard error."""
    from recsys import cli

    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with mock.patch.object(sys, "argv", ["recsys", *shlex.split(command)]), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                cli.main()
        except SystemExit as stop:
            code = 0 if stop.code is None else stop.code
        except Exception as error:  # what a user would see as a traceback
            code = f"{type(error).__name__}: {error}"
    return code, out.getvalue(), err.getvalue()


def outside(command: str, first: Callable[[], None] | None = None) -> tuple[object, str, str]:
    """The command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-m", "recsys.cli", *shlex.split(command)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=120, preexec_fn=first)
    return done.returncode, done.stdout, done.stderr


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[Path]:
    """A working folder and a home of its own."""
    with contextlib.chdir(folder), mock.patch.dict(os.environ, {"RECSYS_HOME": str(folder / "home"), "RECSYS_OFFLINE": "0", "COLUMNS": "220"}):
        yield folder


def furnish(folder: Path) -> None:
    """What every case finds: a log, an experiment, and runs of it."""
    from recsys.experiment import read
    from recsys.run import execute

    (folder / "log.csv").write_text(LOG)
    (folder / "few.csv").write_text("".join(LOG.splitlines(keepends=True)[:161]))
    (folder / "mf.toml").write_text(MF)
    with at_work(folder):
        changes = {"done": "name=done", "other": "name=other model.dim=4", "seed": "name=seed split.seed=1", "refit": "name=refit refit=true",
                   "few": "name=few data.path=few.csv"}  # fmt: skip
        for name, settings in changes.items():
            code, _, err = invoke(f"run mf.toml -q --out runs/{name} {settings}")
            assert code == 0, err

        def stop(event: Mapping[str, object]) -> None:
            if event["event"] == "step" and event["epoch"] == 1:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            execute(read("mf.toml", ["name=half", "train.checkpoint_seconds=0"]), Path("runs/half"), watch=stop)


def restore(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Make a folder hold these files and nothing else."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def attempt(case: Case, usual: Mapping[str, bytes], folder: Path) -> Found:
    """Make the mistake, in a fresh working folder."""
    restore(folder, usual)
    for name, content in case.files.items():
        path = folder / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with at_work(folder):
        if case.before is not None:
            case.before[1](folder)
        before = snapshot(folder)
        with case.around[1]() if case.around is not None else contextlib.nullcontext():
            code, out, err = outside(case.command, case.real) if case.real is not None else invoke(case.command)
        after = snapshot(folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return Found(code, out, err.replace(f"{folder}/", ""), frozenset(changed))


class Workplace:
    """Where mistakes are made: each once, when it is first asked for, all in one folder, so that paths are the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve() / "work"
        self.folder.mkdir()
        furnish(self.folder)
        self.usual = snapshot(self.folder)
        self.found: dict[int, Found] = {}

    def __getitem__(self, number: int) -> Found:
        if number not in self.found:
            self.found[number] = attempt(ALL[number][1], self.usual, self.folder)
        return self.found[number]


def line_of(case: Case, found: Found) -> str:
    """What was printed, with dots for words that differ from machine to machine, and for lists that grow with each new method or setting."""
    line = found.err.strip()
    if case.theirs:
        hit = re.search(case.theirs, line)
        assert hit, f"{case.theirs!r} is not in {line!r}"
        line = f"{line[: hit.start(1)]}...{line[hit.end(1) :]}"
    return re.sub(r"(known|name a method): [^;]*(, [^;]*){4}$", r"\1: ...", line)


def shown(content: str | bytes | None) -> str | None:
    """A file's content for the page, where it is short text."""
    if content is None or isinstance(content, bytes) or len(content) > 400:
        return None
    return content


def page(workplace: Workplace) -> str:
    """The page, in Markdown."""
    lines = [
        "# What happens when the input is wrong",
        "",
        f"{len(ALL)} mistakes, each with what `recsys` answers: one line on standard error, exit code 2, nothing half-written. The page is made by",
        "`python tests/test_bad_input.py`, which makes every mistake; `tests/test_bad_input.py` checks that the page is current. Three dots stand for",
        "words of a library or of the operating system, which differ from machine to machine, and for long lists of what is known.",
        "",
        "The working folder holds `log.csv` (user, item, rating, time; 30 users, 30 items, 240 rows), the experiment `mf.toml`, and the runs `done`, `other`",
        "(another dimension), `seed` (another split), `few` (of `few.csv`, 20 users), `refit`, and `half`, which was interrupted.",
    ]
    for number, (group, case) in enumerate(ALL):
        if case is GROUPS[group][0]:
            lines += ["", f"## {group}"]
        found = workplace[number]
        said = [case.before[0]] if case.before else []
        said += [case.around[0]] if case.around else []
        said += [f"`{name}` is gone" for name, content in case.files.items() if content is None]
        lines += ["", f"### {case.what}", ""] + ([f"Before: {'; '.join(said)}." if case.before else f"Here {'; '.join(said)}.", ""] if said else [])
        for name, content in case.files.items():
            if (text := shown(content)) is not None:
                lines += [f"`{name}`:", "", "```", *(text.rstrip("\n").split("\n") if text else []), "```", ""]
        lines += ["```console", f"$ recsys {case.command}", line_of(case, found), "```"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("mistakes"))


@pytest.mark.parametrize("number", range(len(ALL)), ids=[f"{group}: {case.what}" for group, case in ALL])
def test_one_line_and_nothing_half_written(workplace: Workplace, number: int) -> None:
    case, found = ALL[number][1], workplace[number]
    assert found.code == 2, f"exit code {found.code}\n{found.err}"
    assert found.out == ""
    assert found.err.startswith("recsys: ")
    assert found.err.endswith("\n")
    assert found.err.count("\n") == 1, found.err
    assert "; " in found.err, f"no remedy: {found.err}"
    for piece in case.says:
        assert piece in found.err, f"{piece!r} is not in {found.err!r}"
    assert not found.changed, f"left behind or changed: {sorted(found.changed)}"


def test_there_are_many_and_no_two_alike() -> None:
    assert len(ALL) >= 50
    keys = [(group, case.what) for group, case in ALL]
    assert len(set(keys)) == len(keys)


def test_a_traceback_or_a_file_left_behind_would_be_seen(tmp_path: Path) -> None:
    """The harness itself: what a mistake that is not caught would look like."""

    def careless(**_: object) -> None:
        Path("half-written").write_text("half")
        Path("log.csv").unlink()
        raise KeyError("lost")

    with mock.patch("recsys.cli.app", side_effect=careless):
        found = attempt(Case("", "run", ()), {"log.csv": b"mine"}, tmp_path)
    assert found.code == "KeyError: 'lost'"
    assert found.changed == {"half-written", "log.csv"}


def test_a_run_that_failed_on_the_way_can_go_on(workplace: Workplace) -> None:
    """A full disk in the middle of training: what is there is a run, and it goes on."""
    from recsys import storage

    restore(workplace.folder, workplace.usual)
    flush, calls = os.fsync, iter(range(1000))

    def fills_up(descriptor: int) -> None:
        if next(calls) >= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    with at_work(workplace.folder):
        command = "run mf.toml -q --out runs/{} train.epochs=6 train.checkpoint_seconds=0"
        with mock.patch.object(storage.os, "fsync", fills_up):
            code, _, err = invoke(command.format("new"))
        assert (code, err.count("\n")) == (2, 1)
        assert "the disk is full" in err
        assert json.loads(Path("runs/new/run.json").read_text())["status"] == "running"
        assert not [path for path in Path("runs/new").rglob("*") if path.suffix == ".tmp"]
        assert invoke("run -q --resume runs/new")[0] == 0
        assert invoke(command.format("whole"))[0] == 0
        assert Path("runs/new/scorer.safetensors").read_bytes() == Path("runs/whole/scorer.safetensors").read_bytes()


def test_the_page_is_current(workplace: Workplace) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(workplace), "run python tests/test_bad_input.py"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Workplace(Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
