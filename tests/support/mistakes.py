"""The mistakes that tests/cli/test_bad_input.py makes, and the command line run inside a test."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import lzma
import os
import pickle
import re
import resource
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import safetensors.torch
import torch
from mistakes_base import HEAD, LATE, LOG, MF, Case
from mistakes_of_queries import HISTORIES, LOGS, QUESTIONS

from recsys.files import LOCK, Lock


def invoke(command: str) -> tuple[object, str, str]:
    """Run the command line in this process.

    Returns:
        Exit code (or the exception that escaped), standard output and standard error.
    """
    from recsys import cli

    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", ["recsys", *shlex.split(command)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                cli.main()
        except SystemExit as stop:
            code = 0 if stop.code is None else stop.code
        except Exception as error:  # what a user would see as a traceback
            code = f"{type(error).__name__}: {error}"
    return code, out.getvalue(), err.getvalue()


def shorten(path: str) -> Callable[[Path], object]:
    """Cut a file off."""

    def cut(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: len(data) // 2])

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


def job_and(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """A finished job of recommendations in `parts`, then a change to it."""

    def work(folder: Path) -> None:
        code, _, err = invoke("recommend runs/done --out parts -k 3")
        assert code == 0, err
        change(folder)

    return work


def finished(command: str) -> Callable[[Path], object]:
    """A command that ran before, and well."""

    def work(_: Path) -> None:
        code, _, err = invoke(command)
        assert code == 0, err

    return work


def without(module: str) -> Callable[[], contextlib.AbstractContextManager[object]]:
    """A library that is not installed."""
    return lambda: mock.patch.dict(sys.modules, {module: None})


def studied(_: Path) -> None:
    """A study of one trial."""
    code, _, err = invoke("tune mf.toml -q --out runs/study --trials 1")
    assert code == 0, err


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Whatever is flushed to the disk finds it full."""
    with mock.patch("os.fsync", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
        yield


@contextlib.contextmanager
def job_at_work() -> Iterator[None]:
    """Another command writes recommendations into `parts`."""
    Path("parts").mkdir()
    lock = Lock(Path("parts") / LOCK)
    assert lock.take(wait=False)
    try:
        yield
    finally:
        lock.free(remove=True)
        Path("parts").rmdir()


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Another command works in `runs/half`."""
    lock = Lock(Path("runs/half") / LOCK)
    assert lock.take(wait=False)
    try:
        yield
    finally:
        lock.free(remove=True)


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


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def square(entries: list[tuple[int, int]], size: int) -> bytes:
    """A square sparse matrix as scipy saves it."""
    row, col = np.array(entries).T
    return npz(
        format=np.array("coo"),
        shape=np.array([size, size]),
        data=np.ones(len(row)),
        row=row,
        col=col,
    )


# One or two lines a mistake read better than ten.
COMMANDS = [
    Case("A command that is none", "runn mf.toml", ("'runn'", "recsys --help"), real=plain),
    Case(
        "An unknown option",
        "run mf.toml --outt runs/new",
        ("--outt", "--out", "recsys run --help"),
    ),
    Case("An argument left out", "check", ("config", "recsys check --help")),
    Case("Nothing to run", "run", ("no experiment", "recsys run ratings.csv")),
    Case(
        "Two words that exclude each other",
        "run mf.toml --resume runs/half --out runs/new",
        ("--resume and --out",),
    ),
    Case(
        "No items asked for",
        "recommend runs/done -k 0",
        ("'-k'", "greater than or equal to 1"),
        theirs=r"'--k': ([^;]*)",
    ),
    Case(
        "An invalid count",
        "recommend runs/done --batch many",
        ("--batch",),
        theirs=r"'--batch': ([^;]*)",
    ),
    Case("A form that is none", "compare runs/done --format excel", ("--format", "excel")),
    Case(
        "An override without a value",
        "check mf.toml train.lr",
        ("'train.lr' is not an assignment", "section.key=value"),
    ),
    Case(
        "An override below a value",
        "check mf.toml model.dim.high=1",
        ("'dim' in 'model.dim.high'", "drop what follows"),
    ),
    Case("A method that is none", "models lightgnc", ("'lightgnc'", "did you mean 'lightgcn'?")),
    Case(
        "An unknown data set",
        "data show gowala",
        ("'gowala'", "did you mean 'gowalla'?", "recsys data list"),
    ),
    Case(
        "An invalid name for a data set",
        "data add 'My Data' --path log.csv",
        ("'My Data'", "lower-case"),
    ),
    Case(
        "A file that is not there to be named",
        "data add mine --path nowhere.csv",
        ("nowhere.csv: no such file", "check the path"),
    ),
    Case("Nothing to be named", "data add mine", ("either a path or urls", "--path")),
]

SETTINGS = [
    Case(
        "No such experiment",
        "check mff.toml",
        ("mff.toml: no such file", "did you mean 'mf.toml'?"),
    ),
    Case(
        "A folder for an experiment",
        "check runs",
        ("runs: holds runs, not data", "recsys compare runs/*"),
    ),
    Case(
        "Invalid TOML",
        "check bad.toml",
        ("bad.toml", "line 2"),
        {"bad.toml": '[model]\nname = mf"\n'},
        theirs=r"TOML: (.*) \(",
    ),
    Case(
        "An experiment that is not text",
        "check bad.toml",
        ("bad.toml: not valid TOML",),
        {"bad.toml": "name = 'caf\xe9'\n".encode("latin1")},
        theirs=r"TOML: ([^;]*)",
    ),
    Case(
        "An unknown section",
        "check bad.toml",
        ("bad.toml", "'trian'", "did you mean 'train'?"),
        {"bad.toml": MF.replace("[train]", "[trian]")},
    ),
    Case(
        "An unknown key",
        "check bad.toml",
        ("bad.toml: [train]", "'epoch'", "did you mean 'epochs'?"),
        {"bad.toml": MF.replace("epochs", "epoch")},
    ),
    Case(
        "A key as other libraries call it",
        "check mf.toml model.embedding_size=64",
        ("mf.toml: [model]", "did you mean 'dim'?"),
    ),
    Case(
        "An unknown key further down",
        "check mf.toml model.sampler.negative=4",
        ("mf.toml: [model] sampler", "did you mean 'negatives'?"),
    ),
    Case(
        "A value where a section belongs",
        "check mf.toml train=fast",
        ("mf.toml: 'train' is a section", "[train]"),
    ),
    Case(
        "No method",
        "check bad.toml",
        ("bad.toml: [model]", "'name' is missing", "lightgcn"),
        {"bad.toml": '[data]\npath = "log.csv"\n'},
    ),
    Case(
        "An unknown method",
        "check mf.toml model.name=ligthgcn",
        ("mf.toml: [model] name", "did you mean 'lightgcn'?"),
    ),
    Case(
        "A method as others call it",
        "check mf.toml model.name=BPR-MF",
        ("mf.toml: [model] name", "did you mean 'mf'?"),
    ),
    Case(
        "A method that is not a string",
        "check mf.toml model.name=3",
        ("mf.toml: [model] name", "'3'", "known: "),
    ),
    Case(
        "An unknown metric",
        """check mf.toml 'evaluate.metrics=["ndgc@10"]'""",
        ("mf.toml: [evaluate]", "ndgc", "did you mean 'ndcg@10'?"),
    ),
    Case(
        "A metric at 0",
        """check mf.toml 'evaluate.metrics=["ndcg@0"]'""",
        ("mf.toml: [evaluate]", "ndcg@0"),
    ),
    Case(
        "A metric twice",
        """check mf.toml 'evaluate.metrics=["ndcg@5", "ndcg@5"]'""",
        ("mf.toml: [evaluate]", "ndcg@5 twice"),
    ),
    Case(
        "No metric",
        "check mf.toml evaluate.metrics=[]",
        ("mf.toml: [evaluate]", "metrics is empty"),
    ),
    Case(
        "A monitor that is not a metric",
        "check mf.toml evaluate.monitor=loss",
        ("mf.toml: [evaluate]", "monitor", "known: "),
    ),
    Case(
        "Metrics over lists from drawn candidates",
        """check mf.toml evaluate.candidates=sampled 'evaluate.metrics=["coverage@5"]'""",
        ("[evaluate]", "coverage@5", "candidates = 'all'"),
    ),
    Case(
        "Text for a number",
        """check bad.toml""",
        ("bad.toml: [model]", "dim must be an integer, got '64'", "integer"),
        {"bad.toml": MF.replace("dim = 8", 'dim = "64"')},
    ),
    Case(
        "A fraction for a count",
        "check mf.toml train.epochs=2.5",
        ("mf.toml: [train]", "epochs must be an integer, got 2.5"),
    ),
    Case(
        "A word for yes or no",
        "check mf.toml evaluate.keep_valid=maybe",
        ("mf.toml: [evaluate]", "keep_valid must be true or false"),
    ),
    Case(
        "A boolean as text, outside of the sections",
        "check mf.toml refit=yes",
        ("mf.toml", "refit true or false"),
    ),
    Case(
        "A dimension of 0",
        "check mf.toml model.dim=0",
        ("mf.toml: [model]", "dim must be at least 1, got 0"),
    ),
    Case(
        "A negative learning rate",
        "check mf.toml train.lr=-0.1",
        ("mf.toml: [train]", "lr must be above 0, got -0.1"),
    ),
    Case(
        "A learning rate that is not a number",
        "check mf.toml train.lr=nan",
        ("mf.toml: [train]", "lr must be a finite number, got nan"),
    ),
    Case(
        "An infinite learning rate",
        "check mf.toml train.lr=inf",
        ("mf.toml: [train]", "lr must be a finite number, got inf"),
    ),
    Case(
        "A negative count",
        "check mf.toml model.sampler.negatives=-1",
        ("mf.toml: [model] sampler", "negatives must be at least 0, got -1"),
    ),
    Case(
        "A negative seed",
        "check mf.toml train.seed=-1",
        ("mf.toml: [train]", "seed must be at least 0, got -1"),
    ),
    Case(
        "A seed beyond 64 bits",
        "check mf.toml train.seed=99999999999999999999",
        ("mf.toml: [train]", "seed must be an integer of at most 64 bits", "64 bits"),
    ),
    Case(
        "An unknown optimiser",
        "check mf.toml train.optimizer=adma",
        ("mf.toml: [train]", "got 'adma'; did you mean 'adam'", "adam"),
    ),
    Case(
        "Triplets from a pool that pairs share",
        "check mf.toml model.sampler.unit=triplet model.sampler.pool=shared",
        ("mf.toml: [model] sampler", "unit = 'triplet'", "pool = 'shared'", 'use pool = "own"'),
    ),
    Case(
        "Triplets for a loss that looks at all negatives of a pair",
        "check mf.toml model.sampler.unit=triplet model.sampler.negatives=8 "
        "model.loss.reduce=hardest",
        (
            "mf.toml: [model]",
            "sampler.unit = 'triplet'",
            "loss.reduce = 'hardest'",
            'use unit = "pair"',
        ),
    ),
    Case(
        "An unknown pool of negatives",
        "check mf.toml model.sampler.pool=inbatch",
        ("mf.toml: [model] sampler", "got 'inbatch'; did you mean 'in-batch'", "in-batch"),
    ),
    Case(
        "An unknown loss",
        "check mf.toml model.loss.kind=bpr2",
        ("mf.toml: [model] loss", "got 'bpr2'", "bpr"),
    ),
    Case(
        "A rule of hardness for a loss that has no use for it",
        "check mf.toml model.loss.kind=softmax model.loss.reduce=soft",
        ("mf.toml: [model] loss", "reduce = 'soft'", "kind = 'softmax'"),
    ),
    Case(
        "A rule of hardness that distances cannot follow",
        "check mf.toml model.name=cml model.loss.reduce=fitting",
        ("mf.toml: [model]", "CML scores by a negated distance", 'use reduce = "hardest"'),
    ),
    Case(
        "A mix of one negative",
        "check mf.toml model.name=lightgcn model.mix=true",
        ("mf.toml: [model]", "mix = true", "sampler.negatives = 1", "sampler.negatives = 16"),
    ),
    Case(
        "An unknown rule for the split",
        "check mf.toml split.by=random",
        ("mf.toml: [split]", "by = 'random'", "ratio"),
    ),
    Case(
        "Shares that do not add up",
        "check mf.toml split.ratios=[0.8,0.1,0.2]",
        ("mf.toml: [split]", "[0.8, 0.1, 0.2]", "add up to 1"),
    ),
    Case(
        "Shares of two parts",
        "check mf.toml split.ratios=[0.8,0.2]",
        ("mf.toml: [split]", "ratios", "missing"),
    ),
    Case(
        "A share that is not a number",
        "check mf.toml split.ratios=[0.8,nan,0.2]",
        ("mf.toml: [split]", "ratios"),
    ),
    Case(
        "A split in time that does not say when",
        "check mf.toml split.by=time",
        ("mf.toml: [split]", "test_from"),
    ),
    Case(
        "A setting that its optimiser cannot do",
        "run mf.toml -q --out runs/new train.optimizer=adamw train.rows=touched",
        ("[train] rows", "adamw", "rows = 'dense'"),
    ),
    Case(
        "An optimiser without a compiled kernel",
        "run mf.toml -q --out runs/new train.update=pair",
        ("[train] optimizer", "optimizer = 'adam'", 'update = "batch"'),
    ),
    Case(
        "Compiled kernels without numba",
        "run mf.toml -q --out runs/new train.update=pair train.optimizer=adagrad",
        ("[train] update", "numba", 'pip install "recsys[compiled]"'),
        around=("numba is not installed", without("numba")),
    ),
    Case(
        "A loss without a compiled kernel",
        "run mf.toml -q --out runs/new train.update=pair train.optimizer=sgd"
        " model.similarity=cosine",
        ("[model]", "similarity = 'cosine'", 'train.update = "batch"'),
    ),
    Case(
        "A method without a compiled kernel",
        "run mf.toml -q --out runs/new train.update=pair train.optimizer=sgd model.name=lightgcn",
        ("[train] update", "cml, dpcml and mf", 'update = "batch"'),
    ),
    Case(
        "An unknown device",
        "run mf.toml -q --out runs/new train.device=gpu",
        ("[train] device", "'gpu'", "use auto or cpu"),
        theirs=r"used: ([^;]*)",
    ),
    Case(
        "A device that is not there",
        "run mf.toml -q --out runs/new train.device=cuda:99",
        ("[train] device", "'cuda:99'", "use auto or cpu"),
        theirs=r"used: ([^;]*)",
    ),
]

DATA = [
    Case("No such file", "data stats logs.csv", ("logs.csv: no such file", "log.csv")),
    Case(
        "An empty file",
        "data stats a.csv",
        ("a.csv: the file is empty",),
        {"a.csv": ""},
        real=plain,
    ),
    Case(
        "A column of sessions that does not exist",
        "data stats a.csv session=basket",
        ("a.csv: no column 'basket' for session", "did you mean"),
        {"a.csv": "user,item,baskets\n1,1,x\n"},
    ),
    Case(
        "A session of two users",
        "data stats a.csv session=basket",
        ("session 'x' belongs to two users, 1 and 2", "session_gap"),
        {"a.csv": "user,item,basket\n1,1,x\n2,1,x\n"},
    ),
    Case(
        "Sessions by idle time without times",
        "data stats a.csv session_gap=1800",
        ("session_gap needs times, which the data lack", "time ="),
        {"a.csv": HEAD + "1,1,5\n"},
    ),
    Case(
        "An idle time of nothing",
        "data stats log.csv session_gap=0",
        ("session_gap must be above 0, got 0",),
    ),
    Case(
        "A column of sessions and an idle time",
        "data stats log.csv session=visit session_gap=1800",
        ("leave out one of them",),
    ),
    Case(
        "A header and nothing else",
        "data stats a.csv",
        ("a.csv: there is a header and no row",),
        {"a.csv": HEAD},
    ),
    Case(
        "A row too long",
        "data stats a.csv",
        ("a.csv, line 3", "4 fields"),
        {"a.csv": HEAD + "u1,i1,5\nu1,i2,4,9\n"},
    ),
    Case(
        "A row too short",
        "data stats a.csv",
        ("a.csv, line 3", "2 fields"),
        {"a.csv": HEAD + "u1,i1,5\nu1,i2\n"},
    ),
    Case(
        "A quote that is never closed",
        "data stats a.csv",
        ("a.csv, after line 2", "quote"),
        {"a.csv": HEAD + 'u1,i1,5\nu1,"i2,4\nu2,i1,3\n'},
    ),
    Case(
        "A quote inside of a field",
        "data stats a.csv",
        ("a.csv, line 2", "quote inside of a field", 'quote = ""'),
        {"a.csv": HEAD + 'u1,5" disk,5\nu1,3" disk,4\n'},
    ),
    Case(
        "A line feed in a field between tabs",
        'data stats a.tsv \'quote="\\""\'',
        ("a.tsv, line 2", "goes on over the end of the line", 'quote = ""'),
        {"a.tsv": 'user\titem\ttitle\nu1\ti1\t"Live\nu1\ti2\tLow"\n'},
    ),
    Case(
        "A tab in quotes between tabs",
        "data stats a.tsv",
        ("a.tsv, line 2", "4 fields", "set quote ="),
        {"a.tsv": 'user\titem\ttitle\nu1\ti1\t"a\tb"\n'},
    ),
    Case(
        "A quote that is the separator",
        "data stats a.csv 'quote=\",\"'",
        ("quote = ','", "not the separator"),
        {"a.csv": HEAD + "u1,i1,5\n"},
    ),
    Case(
        "A rating that is not a number",
        "data stats a.csv",
        ("a.csv, line 3, column 'rating'", "'good'"),
        {"a.csv": HEAD + "u1,i1,5\nu1,i2,good\n"},
    ),
    Case(
        "A rating that is not finite",
        "data stats a.csv",
        ("a.csv, line 3, column 'rating'", "'inf'"),
        {"a.csv": HEAD + "u1,i1,5\nu1,i2,inf\n"},
    ),
    Case(
        "A rating that is NaN",
        "data stats a.csv",
        ("a.csv, line 2, column 'rating'", "'nan'"),
        {"a.csv": HEAD + "u1,i1,nan\nu1,i2,4\n"},
    ),
    Case(
        "A user left out",
        "data stats a.csv",
        ("a.csv, line 3", "no user", 'nulls = "drop"'),
        {"a.csv": HEAD + "u1,i1,5\n,i2,4\n"},
    ),
    Case(
        "An invalid time",
        "data stats a.csv",
        ("a.csv, line 3, column 'time'", "'soon'", "unix seconds"),
        {"a.csv": "user,item,time\nu1,i1,1700000000\nu1,i2,soon\n"},
    ),
    Case(
        "Text that is not UTF-8",
        "data stats a.csv",
        ("a.csv, line 3, byte 4", "0xe9", "iconv"),
        {"a.csv": (HEAD + "u1,i1,5\nu1,\xe92,4\n").encode("latin1")},
    ),
    Case(
        "Text in UTF-16",
        "data stats a.csv",
        ("a.csv, line 1, byte 1", "UTF-16", "iconv -f utf-16"),
        {"a.csv": b"\xff\xfe" + (HEAD + "u1,i1,5\n").encode("utf-16-le")},
    ),
    Case(
        "Ids that a spreadsheet has rounded",
        "data stats a.csv",
        ("a.csv, line 2, column 'user'", "'7.6562E+16'", "lost digits", "in full"),
        {"a.csv": HEAD + "7.6562E+16,i1,5\n"},
    ),
    Case(
        "A column that is not there",
        "data stats log.csv user=users",
        ("log.csv", "'users'", "did you mean 'user'?"),
    ),
    Case(
        "Columns that cannot be guessed",
        "data stats a.csv",
        ("a.csv", "no column looks like the users", "who, what"),
        {"a.csv": "who,what\n1,2\n"},
    ),
    Case(
        "A column beyond the last",
        "data stats log.csv user=7",
        ("log.csv", "user = 7", "from 0 to 3"),
    ),
    Case(
        "One column for two",
        "data stats log.csv user=item item=item",
        ("log.csv", "'item'", "a column for each"),
    ),
    Case(
        "A separator that is another",
        "data stats log.csv 'separator=\";\"'",
        ("log.csv, line 1", "';'", "','"),
    ),
    Case(
        "Two columns of one name",
        "data stats a.csv",
        ("a.csv, line 1", "'item'", "rename"),
        {"a.csv": "user,item,item\nu1,i1,i2\n"},
    ),
    Case(
        "A first line that may not be a header",
        "data stats a.csv",
        ("a.csv, line 1", "header = true"),
        {"a.csv": "anna,bread\nbert,cheese\n"},
    ),
    Case(
        "An archive that is cut off",
        "data stats a.csv.gz",
        ("a.csv.gz", "damaged", "again"),
        {"a.csv.gz": gzip.compress(LOG.encode(), mtime=0)[:200]},
        theirs=r"\((.*)\)",
    ),
    Case(
        "An archive that is damaged",
        "data stats a.csv.xz",
        ("a.csv.xz", "damaged", "again"),
        {"a.csv.xz": lzma.compress(LOG.encode())[:-40] + bytes(40)},
        theirs=r"\((.*)\)",
    ),
    Case(
        "A file that is not what its name says",
        "data stats a.csv.gz",
        ("a.csv.gz", "not what its name says"),
        {"a.csv.gz": LOG},
        theirs=r"\((.*)\)",
    ),
    Case(
        "A Parquet file that is cut off",
        "data stats a.parquet",
        ("a.parquet", "damaged"),
        {"a.parquet": parquet(pl.DataFrame({"user": [1], "item": [2]}))[:-20]},
        theirs=r"\((.*)\)",
    ),
    Case(
        "A Parquet file without rows",
        "data stats a.parquet",
        ("a.parquet", "no rows"),
        {"a.parquet": parquet(pl.DataFrame(schema={"user": pl.Int64, "item": pl.Int64}))},
    ),
    Case(
        "A pickle",
        "data stats a.pkl",
        ("a.pkl", ".pkl is not a format", "give CSV"),
        {"a.pkl": pickle.dumps({"user": [1]}, protocol=0)},
    ),
    Case(
        "A pickle under another name",
        "data stats a.npz",
        ("a.npz",),
        {"a.npz": pickle.dumps({"user": [1]}, protocol=4)},
    ),
    Case(
        "Python objects inside of arrays",
        "data stats a.npz",
        ("a.npz",),
        {"a.npz": npz(row=np.array([{}, {}], dtype=object), col=np.arange(2))},
    ),
    Case(
        "Five columns of numbers without a header",
        "data stats a.txt",
        ("a.txt: every line has 5 numbers", "user = 0, item = 1", 'format = "adjacency"'),
        {"a.txt": "1 10 3 5 4\n1 11 3 4 4\n2 10 3 2 1\n"},
    ),
    Case(
        "A table of numbers with gaps",
        "data stats a.txt",
        ("a.txt: lines of 3 to 4 numbers", "several begin with 1", 'format = "adjacency"'),
        {"a.txt": "1 10 3 5\n1 11 3\n2 10 3 2\n"},
    ),
    Case(
        "A matrix of users among themselves",
        "data stats friends_adj.npz",
        ("friends_adj.npz", "a graph of users or of items alone", "users x items"),
        {"friends_adj.npz": square([(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)], 3)},
    ),
    Case(
        "An adjacency of users and items that may be cut in two places",
        "data stats s_adj_mat.npz",
        ("s_adj_mat.npz", "items may begin at 1 to 2", "cut it"),
        {"s_adj_mat.npz": square([(0, 2), (2, 0)], 3)},
    ),
    Case(
        "An array without interactions",
        "data stats a.npy",
        ("a.npy: holds float64 [2, 3]", "[n, 2]", "numpy.save"),
        {"a.npy": npy(np.ones((2, 3)))},
    ),
    Case(
        "A Delta table",
        "data stats lake",
        ("lake: is a Delta table", "deleted", "plain Parquet"),
        {
            "lake/_delta_log/0.json": "{}",
            "lake/a.parquet": parquet(pl.DataFrame({"user": [1], "item": [2]})),
        },
    ),
    Case(
        "Partitions of which some are missing",
        "data stats log/",
        ("log/event=buy/a.parquet", "its folders name event", "name no column"),
        {
            "log/b.parquet": parquet(pl.DataFrame({"user": [1], "item": [2]})),
            "log/event=buy/a.parquet": parquet(pl.DataFrame({"user": [1], "item": [2]})),
        },
    ),
    Case(
        "A negative id where ids are row numbers",
        "data stats a.txt format=adjacency",
        ("a.txt, line 2", "-4"),
        {"a.txt": "0 1 2\n1 -4 3\n"},
    ),
    Case(
        "A word in lists of numbers",
        "data stats a.txt format=adjacency",
        ("a.txt, line 2", "'x'", "adjacency"),
        {"a.txt": "0 1 2\n1 x 3\n"},
    ),
    Case(
        "A folder of many files",
        "data stats files/",
        ("files", "2 files: a.csv, b.csv"),
        {"files/a.csv": LOG, "files/b.csv": LOG},
    ),
    Case(
        "Nothing to read",
        "check --data bad.toml",
        ("[data]", "neither source nor path", "source ="),
        {"bad.toml": '[model]\nname = "mf"\n'},
    ),
    Case(
        "Test without train",
        "check --data bad.toml",
        ("[data]", "test without train"),
        {"bad.toml": '[data]\ntest = "log.csv"\n[model]\nname = "mf"\n'},
    ),
    Case(
        "An unknown data set",
        "check --data bad.toml",
        ("'online-retial'", "did you mean 'online-retail'?"),
        {"bad.toml": '[data]\nsource = "online-retial"\n\n[model]\nname = "mf"\n'},
    ),
    Case(
        "A carriage return alone at the end of a line",
        "data stats a.csv",
        ("a.csv: cannot be parsed", "line feed"),
        {"a.csv": "user,item\ru1,i1\r"},
        theirs=r"parsed: ([^;]*)",
    ),
    Case(
        "A time beyond all times",
        "data stats a.csv",
        ("a.csv, line 2, column 'time'", "unix seconds"),
        {"a.csv": "user,item,time\nu1,i1,99999999999999999999\n"},
    ),
    Case(
        "Times in two units",
        "data stats a.csv",
        (
            "a.csv, line 2, column 'time'",
            "'1600000000' looks like seconds",
            "milliseconds",
            "one unit",
        ),
        {"a.csv": "user,item,time\nu1,i1,1600000000\nu1,i2,1600000000987\n"},
    ),
    Case(
        "Dates written as numbers",
        "data stats a.csv",
        ("a.csv, line 2, column 'time'", "'20111209'", "ISO dates"),
        {"a.csv": "user,item,time\nu1,i1,20111209\nu1,i2,20111210\n"},
    ),
    Case(
        "A setting that the format does not read",
        "data stats users.dat time=when ordered=true",
        ("users.dat", "time = 'when'", "leave it out"),
        {"users.dat": "2 4 9\n0\n1 4\n"},
    ),
    Case(
        "A list of items in a row",
        "data stats a.parquet",
        ("a.parquet, row 1", "'item' holds List", "one row per interaction"),
        {"a.parquet": parquet(pl.DataFrame({"user": [1], "item": [[1, 2]]}))},
    ),
    Case(
        "A data set that a program cannot fetch",
        "data fetch retailrocket",
        ("'retailrocket'", "cannot be downloaded", "(1)"),
    ),
    Case(
        "A data set that is not here, offline",
        "data stats gowalla",
        ("'gowalla'", "RECSYS_OFFLINE"),
        around=("RECSYS_OFFLINE=1", lambda: mock.patch.dict(os.environ, RECSYS_OFFLINE="1")),
    ),
    Case(
        "A mistake in an entry of one's own",
        "data show mine",
        ("home/catalog/mine.toml", "'paht'", "did you mean 'path'?"),
        {"home/catalog/mine.toml": 'folder = "."\n[read]\npaht = "log.csv"\n'},
    ),
    Case(
        "Ratings asked for that are not there",
        "data stats a.csv min_weight=4",
        ("[data]", "min_weight", "weight ="),
        {"a.csv": "user,item\nu1,i1\n"},
    ),
    Case(
        "A threshold that is NaN",
        "data stats log.csv min_weight=nan",
        ("min_weight must be a finite number",),
    ),
    Case(
        "Ratings of 0 alone",
        "data stats a.csv",
        ("[data]", "no interaction is left", "no min_weight is set", "2 -> 0"),
        {"a.csv": HEAD + "u1,i1,0\nu1,i2,-1\n"},
    ),
    Case(
        "A threshold above all ratings",
        "data stats log.csv min_weight=9",
        ("[data]", "no interaction is left", "240 -> 0"),
    ),
    Case(
        "A core that is empty",
        "data stats log.csv user_core=100",
        ("[data]", "no interaction is left", "240 -> 0"),
    ),
    Case("A negative core", "data stats log.csv user_core=-2", ("user_core must be at least 0",)),
    Case(
        "An invalid date",
        "data stats log.csv since=yesterday",
        ("since", "'yesterday'", "ISO date"),
        theirs=r"as in (\d{4}-\d\d-\d\d)",
    ),
    Case(
        "A window after the end",
        "data stats log.csv since=2099-01-01",
        ("[data]", "no interaction is left"),
    ),
    Case(
        "A pair twice where that is forbidden",
        "data stats a.csv duplicates=error",
        ("[data]", "'u1'", "'i1'", "duplicates"),
        {"a.csv": HEAD + "u1,i1,5\nu1,i1,4\n"},
    ),
    Case(
        "A behaviour that never occurs",
        "data stats a.csv 'behaviours=[\"buyy\"]'",
        ("[data] behaviours", "did you mean 'buy'?"),
        {"a.csv": "user,item,event\nu1,i1,buy\nu1,i2,view\n"},
    ),
    Case(
        "Titles without a title",
        "data stats log.csv titles=a.csv",
        ("a.csv", "titles"),
        {"a.csv": "item,price\ni01,3\n"},
    ),
]

SPLITS = [
    Case(
        "The last of each user, without times",
        "run mf.toml -q --out runs/new data.path=a.csv split.by=last",
        ("[split]", "needs times", "[data]"),
        {"a.csv": re.sub(r",\d+\n", "\n", LOG).replace(",time", "")},
    ),
    Case(
        "A point in time before everything",
        "run mf.toml -q --out runs/new split.by=time split.test_from=2001-01-01",
        ("[split]", "no train row"),
    ),
    Case(
        "A point in time after everything",
        "run mf.toml -q --out runs/new split.by=time split.test_from=2099-01-01",
        ("[split]", "test_from 2099-01-01", "earlier point"),
    ),
    Case(
        "Points in time the wrong way round",
        "run mf.toml -q --out runs/new split.by=time split.valid_from=0.9 split.test_from=0.5",
        ("[split]", "later than", "exchange"),
    ),
    Case(
        "An invalid point in time",
        "run mf.toml -q --out runs/new split.by=time split.test_from=soon",
        ("[split] test_from", "'soon'"),
        theirs=r"as in (\d{4}-\d\d-\d\d)",
    ),
    Case(
        "Too few new items",
        "run mf.toml -q --out runs/new split.by=new-item split.new_items=0.01",
        ("[split] new_items", "0.01 of 30 items"),
    ),
    Case(
        "A seed beyond its generator",
        "run mf.toml -q --out runs/new split.by=libcml split.seed=5000000000",
        ("[split] seed", "32 bits"),
    ),
    Case(
        "Parts asked for that are not there",
        "run mf.toml -q --out runs/new split.by=presplit",
        ("[split]", "presplit"),
    ),
]

TRAINING = [
    Case(
        "A learning rate far too large",
        "run mf.toml -q --out runs/new train.optimizer=sgd train.lr=1e30",
        ("epoch 1", "loss", "lower train.lr"),
    ),
    Case(
        "More memory than there is",
        "run mf.toml -q --out runs/new model.dim=1000000000000",
        ("memory",),
    ),
    Case(
        "An item-item matrix that does not fit",
        "run mf.toml -q --out runs/new 'model={name=\"ease\", memory_gb=1e-6}'",
        ("[model] ease", "memory_gb = 1e-06", "item_core"),
    ),
    Case(
        "Ages without times",
        "run mf.toml -q --out runs/new data.path=a.csv 'model={name=\"popular\", half_life=7}'",
        ("[model] half_life", "time"),
        {"a.csv": re.sub(r",\d+\n", "\n", LOG).replace(",time", "")},
    ),
    Case(
        "A folder that is taken",
        "run mf.toml -q --out runs/done",
        ("runs/done: already exists", "--resume runs/done"),
    ),
    Case(
        "A file where the folder should be",
        "run mf.toml -q --out log.csv",
        ("log.csv: already exists", "another --out"),
    ),
    Case(
        "A folder that another command works in",
        "run mf.toml -q --out runs/half",
        ("runs/half: another command", "another --out"),
        around=("another run works in runs/half", busy),
        code=75,
    ),
    Case(
        "A run that is still going",
        "run --resume runs/half -q",
        ("runs/half: another command works on this run", "wait for it"),
        around=("its first process is still at work", busy),
        code=75,
    ),
    Case(
        "A folder below a file",
        "run mf.toml -q --out log.csv/new",
        ("log.csv/new", "cannot be written"),
        theirs=r"written: ([^;]*)",
    ),
    Case(
        "A full disk",
        "run mf.toml -q --out runs/new",
        ("runs/new", "the disk is full", "free some space"),
        around=("the disk is full", full_disk),
        code=75,
    ),
    Case(
        "No room for the file",
        "run mf.toml -q --out runs/new",
        ("runs/new", "cannot be written", "free some space"),
        around=("`ulimit -f` allows no more", contextlib.nullcontext),
        real=small_files,
        theirs=r"written: ([^;]*)",
    ),
    Case(
        "Resuming a folder that is not a run",
        "run -q --resume runs",
        ("runs: is not the folder of a run", "`recsys run` printed"),
    ),
    Case(
        "Resuming with other settings",
        "run mf.toml -q --resume runs/half train.lr=0.5",
        ("runs/half", "other settings: train.lr was 0.001, and is 0.5 now", "start a new run"),
    ),
    Case(
        "Resuming on other data",
        "run -q --resume runs/half",
        ("runs/half", "data have changed", "restore the data"),
        {"log.csv": LOG + "u99,i01,5,1700000000\n"},
    ),
    Case(
        "Resuming without the data",
        "run -q --resume runs/half",
        ("log.csv: no such file",),
        {"log.csv": None},
    ),
    Case(
        "A checkpoint that is cut off",
        "run -q --resume runs/half",
        ("runs/half/fit/checkpoint.safetensors", "run again"),
        before=("the checkpoint is cut off", shorten("runs/half/fit/checkpoint.safetensors")),
        theirs=r"file: ([^;]*)",
    ),
    Case(
        "A checkpoint of another run",
        "run -q --resume runs/half",
        ("runs/half/fit/checkpoint.safetensors", "other settings"),
        before=(
            "the checkpoint is that of `runs/other`",
            swap("runs/other/fit/checkpoint.safetensors", "runs/half/fit/checkpoint.safetensors"),
        ),
    ),
    Case(
        "A checkpoint of another program",
        "run -q --resume runs/half",
        ("runs/half/fit/checkpoint.safetensors", "another program"),
        before=("the checkpoint is foreign", foreign("runs/half/fit/checkpoint.safetensors")),
    ),
    Case(
        "A scorer for a checkpoint",
        "run -q --resume runs/half",
        ("runs/half/fit/checkpoint.safetensors",),
        before=(
            "the checkpoint is a copy of `scorer.safetensors`",
            swap("runs/done/scorer.safetensors", "runs/half/fit/checkpoint.safetensors"),
        ),
    ),
    Case(
        "A pickle for a checkpoint",
        "run -q --resume runs/half",
        ("runs/half/fit/checkpoint.safetensors", "not a readable safetensors"),
        {"runs/half/fit/checkpoint.safetensors": pickle.dumps({"w": [1.0] * 9})},
        theirs=r"file: ([^;]*)",
    ),
]

RUNS = [
    Case(
        "Recommending from a folder that is not a run",
        "recommend log.csv",
        ("log.csv: is not the folder of a run",),
    ),
    Case(
        "Recommending from a run that is not finished",
        "recommend runs/half",
        ("runs/half: is not finished", "recsys run --resume runs/half"),
    ),
    Case(
        "Evaluating a run that is not finished",
        "evaluate runs/half",
        ("runs/half: is not finished", "recsys run --resume runs/half"),
    ),
    Case(
        "Comparing with a run that is not finished",
        "compare runs/done runs/half",
        ("runs/half: is not finished", "recsys run --resume runs/half"),
    ),
    Case(
        "Verifying a run that is not finished", "verify runs/half", ("runs/half: is not finished",)
    ),
    Case(
        "A run of a newer version",
        "recommend runs/done",
        ("runs/done", "format 99", "update recsys"),
        before=(
            "`run.json` says format 99",
            edit("runs/done/run.json", '"format": 1', '"format": 99'),
        ),
    ),
    Case(
        "A run.json that is damaged",
        "recommend runs/done",
        ("runs/done/run.json",),
        before=("`run.json` is cut off", shorten("runs/done/run.json")),
        theirs=r"read: ([^;]*)",
    ),
    Case(
        "A run.json that is something else",
        "recommend runs/done",
        ("runs/done", "not of a run"),
        {"runs/done/run.json": "[1, 2]\n"},
    ),
    Case(
        "A run.json with something left out",
        "verify runs/done",
        ("runs/done", "without 'experiment'"),
        before=(
            "`experiment` is struck from `run.json`",
            edit("runs/done/run.json", '"experiment"', '"something"'),
        ),
    ),
    Case(
        "A configuration that was edited",
        "verify runs/done",
        ("runs/done/config.toml: [train]", "lr must be above 0, got -1.0"),
        before=(
            "`lr = -1` in `config.toml`",
            edit("runs/done/config.toml", "lr = 0.001", "lr = -1.0"),
        ),
    ),
    Case(
        "A configuration that is damaged",
        "verify runs/done",
        ("runs/done/config.toml",),
        before=(
            "the first bracket of `config.toml` is lost",
            edit("runs/done/config.toml", "[data]", "[data"),
        ),
        theirs=r"read: ([^;]*)",
    ),
    Case(
        "A scorer that is cut off",
        "recommend runs/done",
        ("runs/done/scorer.safetensors", "run again"),
        before=("the scorer is cut off", shorten("runs/done/scorer.safetensors")),
        theirs=r"file: ([^;]*)",
    ),
    Case(
        "A scorer that is gone",
        "recommend runs/done",
        ("runs/done/scorer.safetensors: no such file",),
        {"runs/done/scorer.safetensors": None},
    ),
    Case(
        "A pickle for a scorer",
        "recommend runs/done",
        ("runs/done/scorer.safetensors",),
        {"runs/done/scorer.safetensors": pickle.dumps([1.0] * 99)},
        theirs=r"file: ([^;]*)",
    ),
    Case(
        "A scorer of another program",
        "recommend runs/done",
        ("runs/done/scorer.safetensors", "another program"),
        before=("the scorer is foreign", foreign("runs/done/scorer.safetensors")),
    ),
    Case(
        "A checkpoint for a scorer",
        "recommend runs/done",
        ("runs/done/scorer.safetensors", "no scorer"),
        before=(
            "the scorer is a copy of a checkpoint",
            swap("runs/done/fit/checkpoint.safetensors", "runs/done/scorer.safetensors"),
        ),
    ),
    Case(
        "A scorer of other data",
        "recommend runs/done",
        ("runs/done", "differ in size", "mixed"),
        before=(
            "the scorer is that of `runs/few`",
            swap("runs/few/scorer.safetensors", "runs/done/scorer.safetensors"),
        ),
    ),
    Case(
        "A vocabulary that is cut off",
        "recommend runs/done",
        ("runs/done/items.parquet", "run again"),
        before=("`items.parquet` is cut off", shorten("runs/done/items.parquet")),
        theirs=r"read: ([^;]*)",
    ),
    Case(
        "A vocabulary with other columns",
        "recommend runs/done",
        ("runs/done/users.parquet",),
        {"runs/done/users.parquet": parquet(pl.DataFrame({"name": ["u00"]}))},
    ),
    Case(
        "Learning data beyond the vocabulary",
        "recommend runs/done",
        ("runs/done", "seen.parquet"),
        {"runs/done/seen.parquet": parquet(pl.DataFrame({"user": [99], "item": [99]}))},
    ),
    Case(
        "A report that is gone",
        "compare runs/done runs/other",
        ("runs/done/test",),
        {"runs/done/test/report.json": None},
    ),
    Case(
        "A report that is cut off",
        "compare runs/done runs/other",
        ("runs/done/test/per_user.parquet",),
        before=("`per_user.parquet` is cut off", shorten("runs/done/test/per_user.parquet")),
    ),
    Case(
        "Runs of different splits",
        "compare runs/done runs/seed",
        ("done", "seed", "one data set, split and protocol"),
    ),
    Case(
        "A metric that no run has",
        "compare runs/done runs/other --metric ndcg@7",
        ("ndcg@7", "did you mean 'ndcg@5'?"),
    ),
    Case(
        "A run beside itself",
        "compare runs/done runs/../runs/done",
        ("runs/done: is given twice", "each run once"),
    ),
    Case(
        "An unknown baseline",
        "compare runs/done runs/other --baseline dune",
        ("'dune'", "did you mean 'done'?"),
    ),
    Case(
        "An unknown metric",
        "evaluate runs/done 'metrics=[\"recal@5\"]'",
        ("[evaluate]", "did you mean 'recall@5'?"),
    ),
    Case(
        "Metrics that are not a list",
        "evaluate runs/done metrics=ndcg@5",
        ("[evaluate]", "must be a list", 'write metrics = ["ndcg@5"]'),
    ),
    Case(
        "A setting that is not of evaluation",
        "evaluate runs/done epochs=3",
        ("[evaluate]", "'epochs'", "known: "),
    ),
    Case(
        "An unknown part",
        "evaluate runs/done --part train",
        ("runs/done", "'train'", "test and valid"),
    ),
    Case(
        "The validation part of a run that learned from it",
        "evaluate runs/refit --part valid",
        ("runs/refit", "refit", "test and valid"),
    ),
    Case(
        "Evaluating on other data",
        "evaluate runs/done",
        ("runs/done", "data have changed", "restore the data"),
        {"log.csv": LOG + "u99,i01,5,1700000000\n"},
    ),
    Case(
        "Verifying without the data",
        "verify runs/done",
        ("log.csv: no such file",),
        {"log.csv": None},
    ),
    Case("Auditing what is no experiment", "audit nothing.toml", ("nothing.toml: no such file",)),
]

RECOMMENDING = [
    Case(
        "An unknown user",
        "recommend runs/done --user u77 --unknown error",
        ("users", "'u77'", "did you mean '"),
    ),
    Case(
        "A user without a training interaction",
        "recommend runs/late --user u31 --unknown error",
        (
            "users: user 'u31' has no training interaction",
            "(1 of 1 users)",
            "--unknown popular or skip",
        ),
        LATE,
        before=(
            "`recsys run late.toml --out runs/late` ran before",
            finished("run late.toml -q --out runs/late"),
        ),
    ),
    Case(
        "Candidates without a training interaction",
        "recommend runs/late --candidates items.txt",
        ("candidates: none of the 1 candidates has a training interaction", "'factors'", "--unmet"),
        {**LATE, "items.txt": "i77\n"},
        before=(
            "`recsys run late.toml --out runs/late` ran before",
            finished("run late.toml -q --out runs/late"),
        ),
    ),
    Case(
        "Users in two ways",
        "recommend runs/done --user u01 --users ids.txt",
        ("--user and --users", "file"),
        {"ids.txt": "u01\n"},
    ),
    Case(
        "A file of users that is not there",
        "recommend runs/done --users ids.txt",
        ("ids.txt: no such file",),
    ),
    Case(
        "A file of users that is empty",
        "recommend runs/done --users ids.txt",
        ("ids.txt: holds no id", "one id per line"),
        {"ids.txt": "\n\n"},
    ),
    Case(
        "A file of users that is not text",
        "recommend runs/done --users ids.txt",
        ("ids.txt, line 2, byte 1", "0xff is not UTF-8", "iconv"),
        {"ids.txt": b"u01\n\xff\xfe\n"},
    ),
    Case(
        "A Parquet file of users that is cut off",
        "recommend runs/done --users ids.parquet",
        ("ids.parquet: the file is damaged", "write it again"),
        {"ids.parquet": parquet(pl.DataFrame({"id": ["u01"]}))[:-9]},
        theirs=r"says \(([^;]*)\);",
    ),
    Case(
        "A table without a column of users",
        "recommend runs/done --users people.csv",
        ("people.csv: no column looks like the users", "found: name, age", "call it user"),
        {"people.csv": "name,age\nAnn,31\nBob,44\n"},
    ),
    Case(
        "A table of users with a row too short",
        "recommend runs/done --users people.csv",
        ("people.csv, line 3", "1 fields, the first line has 2"),
        {"people.csv": "name,user\nAnn,u01\nBob\n"},
    ),
    Case(
        "A list of users with a row too long",
        "recommend runs/done --users people.csv",
        ("people.csv: 'u02,44' has 2 fields", "quote an id"),
        {"people.csv": "user\nu01\nu02,44\n"},
    ),
    Case(
        "A quote in a table of users that is not closed",
        "recommend runs/done --users people.csv",
        ("people.csv, after line 1", "quote"),
        {"people.csv": 'user,name\nu01,"Ann\nu02,Bob\n'},
        theirs=r"quote \(([^)]*)\)",
    ),
    Case(
        "Users that the run does not know",
        "recommend runs/done --users people.csv",
        ("people.csv: unknown user 'U01' (2 of 2 are unknown)",),
        {"people.csv": "user,age\nU01,31\nU02,44\n"},
    ),
    Case(
        "A column of lists",
        "recommend runs/done --users ids.parquet",
        ("ids.parquet: column 'user' holds List(String), not ids", "one id a row"),
        {"ids.parquet": parquet(pl.DataFrame({"user": [["u01"]]}))},
    ),
    Case(
        "A Parquet file of users without a column",
        "recommend runs/done --users ids.parquet",
        ("ids.parquet: holds no id",),
        {"ids.parquet": parquet(pl.DataFrame())},
    ),
    Case(
        "A Parquet file with a gap",
        "recommend runs/done --users ids.parquet",
        ("users: 1 of 2 ids is missing", "leave it out"),
        {"ids.parquet": parquet(pl.DataFrame({"id": ["u01", None]}))},
    ),
    Case(
        "An unknown item",
        "recommend runs/done --candidates items.txt",
        ("candidates", "'i98'", "1 of 2"),
        {"items.txt": "i01\ni98\n"},
    ),
    Case(
        "Nothing left to recommend",
        "recommend runs/done --candidates items.txt --exclude items.txt",
        ("candidates", "no item is left"),
        {"items.txt": "i01\n"},
    ),
    Case(
        "An unknown file ending",
        "recommend runs/done --out best.xlsx",
        ("best.xlsx", "'.xlsx'", ".parquet, .csv, .jsonl"),
    ),
    Case(
        "A folder that holds something else",
        "recommend runs/done --out runs",
        ("runs: already exists", "another folder"),
    ),
    Case(
        "A file where the folder should be",
        "recommend runs/done --out plain",
        ("plain: already exists", "another folder"),
        {"plain": "mine\n"},
    ),
    Case(
        "A folder with the parts of another job",
        "recommend runs/done --out parts -k 7",
        ("parts: holds the parts of another job (k differ", "another folder"),
        before=(
            "`recsys recommend runs/done --out parts -k 3` ran before",
            job_and(lambda _: None),
        ),
    ),
    Case(
        "A folder in which another job works",
        "recommend runs/done --out parts -k 3",
        ("parts: another command works on this job", "wait for it"),
        around=("another `recsys recommend` works in `parts`", job_at_work),
        code=75,
    ),
    Case(
        "A manifest that is damaged",
        "recommend runs/done --out parts -k 3",
        ("parts/manifest.json",),
        before=("the manifest of the job is cut off", job_and(shorten("parts/manifest.json"))),
        theirs=r"read: ([^;]*)",
    ),
    Case(
        "A full disk",
        "recommend runs/done --out best.parquet",
        ("best.parquet", "the disk is full"),
        {"best.parquet": "yesterday's\n"},
        around=("the disk is full", full_disk),
        code=75,
    ),
    Case(
        "A folder below a file",
        "recommend runs/done --out log.csv/best.csv",
        ("log.csv/best.csv", "cannot be written"),
        theirs=r"written: ([^;]*)",
    ),
    Case(
        "A comparison into a folder",
        "compare runs/done runs/other --format csv --out runs",
        ("runs", "cannot be written"),
        theirs=r"written: ([^;]*)",
    ),
]

EXPORTING = [
    Case(
        "A method without vectors",
        "export runs/knn --out vectors --index flat",
        ("runs/knn: an index needs vectors, and this 'product' scorer", "leave out --index"),
        {"knn.toml": MF.replace('name = "mf"\ndim = 8', 'name = "itemknn"')},
        before=(
            "`recsys run knn.toml --out runs/knn` ran before",
            finished("run knn.toml -q --out runs/knn"),
        ),
    ),
    Case("No folder to export to", "export runs/done", ("--out", "recsys export --help")),
    Case(
        "An unknown kind of index",
        "export runs/done --out vectors --index annoy",
        ("--index", "annoy", "hnsw"),
    ),
    Case(
        "A folder that is not empty",
        "export runs/done --out runs",
        ("runs: already exists and is not empty", "another --out"),
    ),
    Case(
        "Exporting a run that was interrupted",
        "export runs/half --out vectors",
        ("runs/half: is not finished", "--resume"),
    ),
    Case(
        "An index without the library for it",
        "export runs/done --out vectors --index flat",
        ("faiss", "pip install 'recsys[index]'"),
        around=("faiss is not installed", without("faiss")),
    ),
    Case(
        "A disk that is full when vectors are written",
        "export runs/done --out vectors",
        ("vectors/items.parquet", "the disk is full"),
        around=("the disk is full", full_disk),
        code=75,
    ),
    Case(
        "Vectors below a file",
        "export runs/done --out log.csv/vectors",
        ("log.csv/vectors/items.parquet", "cannot be written"),
        theirs=r"written: ([^;]*)",
    ),
]

TUNING = [
    Case("No experiment", "tune --trials 3", ("no experiment to tune", "--resume STUDY")),
    Case(
        "An unknown field",
        "tune mf.toml --out runs/new 'tune.space.train.lrr={low=0.1,high=0.2}'",
        ('mf.toml: [tune.space] "train.lrr"', "no field 'lrr'", "did you mean 'lr'?"),
    ),
    Case(
        "A field as other libraries call it",
        "tune mf.toml --out runs/new 'tune.space.model.embedding_size={low=8,high=16}'",
        ("did you mean 'dim'?",),
    ),
    Case(
        "An unknown section",
        "tune mf.toml --out runs/new 'tune.space.mdoel.dim={low=8,high=16}'",
        ("'mdoel'", "did you mean 'model'?"),
    ),
    Case(
        "A bound that the field does not have",
        "tune mf.toml --out runs/new 'tune.space.train.lr={low=0,high=1}'",
        ('"train.lr" low: must be above 0', "got 0"),
    ),
    Case(
        "A fraction for a count",
        "tune mf.toml --out runs/new 'tune.space.model.dim={low=8.5,high=16}'",
        ('"model.dim" low: must be an integer', "integer"),
    ),
    Case(
        "Low and high for words",
        "tune mf.toml --out runs/new 'tune.space.train.optimizer={low=0,high=1}'",
        ("for numbers", "'adam'"),
    ),
    Case(
        "An invalid choice",
        "tune mf.toml --out runs/new 'tune.space.train.optimizer={choices=[\"adma\"]}'",
        ("'adma'", "'adam'"),
    ),
    Case(
        "Choices without their name",
        "tune bad.toml --out runs/new",
        ("'train.optimizer' must be a table, got a list", "{ choices = ["),
        {"bad.toml": MF + '[tune.space]\n"train.optimizer" = ["adam", "sgd"]\n'},
    ),
    Case(
        "One choice in two spellings",
        "tune mf.toml --out runs/new 'tune.space.train.lr={choices=[1,0.1,1.0]}'",
        ("1.0 twice", "each value once"),
    ),
    Case(
        "A bound that is not a number",
        "tune mf.toml --out runs/new 'tune.space.train.lr={low=nan,high=0.1}'",
        ("low must be a finite number", "finite number"),
    ),
    Case(
        "Bounds the wrong way round",
        "tune mf.toml --out runs/new 'tune.space.train.lr={low=1,high=0.1}'",
        ("above high", "exchange"),
    ),
    Case(
        "A logarithm of 0",
        "tune mf.toml --out runs/new 'tune.space.model.l2={low=0,high=1,log=true}'",
        ("logarithmic", "leave out log"),
    ),
    Case(
        "A search in what is measured",
        "tune mf.toml --out runs/new 'tune.space.split.seed={low=0,high=9}'",
        ("[split] decides what is measured",),
    ),
    Case(
        "A search for the luckiest seed",
        "tune mf.toml --out runs/new 'tune.space.train.seed={low=0,high=9}'",
        ("luckiest seed", "other seeds"),
    ),
    Case(
        "Values that do not go together",
        "tune mf.toml --out runs/new "
        """'tune.space.model.loss.kind={choices=["bpr","square"]}' """
        """'tune.space.model.loss.reduce={choices=["each","top"]}'""",
        ("'square'", "'top'", "choices of one path"),
    ),
    Case(
        "A field and what it holds",
        "tune bad.toml --out runs/new",
        ("bad.toml: [tune.space]", "'model.loss' holds 'model.loss.margin'"),
        {
            "bad.toml": MF
            + (
                '[tune.space]\n"model.loss" = { choices = [{ kind = "bpr" }] '
                '}\n"model.loss.margin" = { low = 1.0, high = 2.0 }\n'
            )
        },
    ),
    Case(
        "A mistake in a space that is only run",
        "run mf.toml --out runs/new 'tune.space.train.lrr={low=0.1,high=0.2}'",
        ("did you mean 'lr'?",),
    ),
    Case(
        "An unknown sampler",
        "tune mf.toml --out runs/new tune.sampler=tpee",
        ("got 'tpee'; did you mean 'tpe'", "'tpe'"),
    ),
    Case(
        "A sampler that does not support choices",
        "tune mf.toml --out runs/new tune.sampler=cma",
        ("takes numbers, not choices", "sampler = 'tpe'"),
    ),
    Case(
        "A grid without an end",
        "tune mf.toml --out runs/new tune.sampler=grid",
        ("no end without a step", "step"),
    ),
    Case(
        "An unknown objective",
        """tune mf.toml --out runs/new 'tune.objectives=["loss"]'""",
        ("[tune] objectives", "latency"),
    ),
    Case(
        "Curves of several objectives",
        """tune mf.toml --out runs/new tune.pruner=median 'tune.objectives=["ndcg@5","latency"]'""",
        ("one objective", "pruner = 'none'"),
    ),
    Case(
        "Nothing to select on",
        "tune mf.toml --out runs/new split.ratios=[0.8,0.0,0.2]",
        ("[split]", "selects on valid"),
    ),
    Case(
        "A monitor that is defined for no user",
        """tune mf.toml -q --out runs/new evaluate.skip_short_users=true """
        """'evaluate.metrics=["ndcg@5"]'""",
        (
            "[evaluate] monitor",
            "ndcg@5 is defined for no user of the validation part",
            "monitor another metric",
        ),
    ),
    Case(
        "A method without a space",
        "tune mf.toml --out runs/new 'model={name=\"popular\"}'",
        ("nothing to search", "low = 1e-4"),
    ),
    Case(
        "A space that is not there",
        "tune mf.toml --out runs/new --space spaces.toml",
        ("spaces.toml: no such file",),
    ),
    Case(
        "An experiment for a space",
        "tune mf.toml --out runs/new --space mf.toml",
        ("mf.toml: is not a search space", "[tune.space]"),
    ),
    Case(
        "A folder that is taken",
        "tune mf.toml --out runs/done",
        ("runs/done: already exists", "another --out"),
    ),
    Case(
        "Resuming a folder that is not a study",
        "tune --resume runs/done",
        ("runs/done: is not the folder of a study",),
    ),
    Case(
        "Showing a folder that is not a study",
        "tune show runs",
        ("runs: is not the folder of a study", "`recsys tune` printed"),
    ),
    Case(
        "Resuming a study with other settings",
        "tune mf.toml --resume runs/study tune.seed=9",
        ("runs/study", "other settings"),
        before=("a study of mf.toml is in `runs/study`", studied),
    ),
    Case(
        "A study with more to begin with",
        """tune mf.toml --resume runs/study 'tune.warm=["runs/done"]'""",
        ("[tune] warm", "'runs/done' is new"),
        before=("a study of mf.toml is in `runs/study`", studied),
    ),
    Case(
        "An override without its file",
        "tune --resume runs/study tune.trials=20",
        ("'tune.trials=20'", "give the TOML file too"),
        before=("a study of mf.toml is in `runs/study`", studied),
    ),
    Case(
        "Resuming a study on other data",
        "tune --resume runs/study --trials 3",
        ("runs/study", "data have changed"),
        before=(
            "a study of mf.toml is in `runs/study`, then a row is added to the log",
            lambda folder: (
                studied(folder),
                (folder / "log.csv").write_text(LOG + "u99,i01,5,1700000000\n"),
            ),
        ),
    ),
    Case(
        "A study that is damaged",
        "tune show runs/study",
        ("runs/study/study.json", "damaged"),
        before=(
            "a study of mf.toml is in `runs/study`, its study.json cut off",
            lambda folder: (studied(folder), shorten("runs/study/study.json")(folder)),
        ),
        theirs=r"read: ([^;]*)",
    ),
    Case(
        "A journal that is gone",
        "tune show runs/study",
        ("runs/study/study.journal: no such file", "restore it"),
        before=(
            "a study of mf.toml is in `runs/study`, without its journal",
            lambda folder: (studied(folder), (folder / "runs/study/study.journal").unlink()),
        ),
    ),
    Case(
        "A file without trials",
        "tune mf.toml --out runs/new --import log.csv",
        ("log.csv: holds no trials", "trials.parquet"),
    ),
    Case(
        "A warm start from nowhere",
        """tune mf.toml --out runs/new 'tune.warm=["runs/nothing"]'""",
        ("[tune] warm", "runs/nothing"),
    ),
    Case(
        "A warm start from another method",
        """tune mf.toml --out runs/new 'model={name="ease"}' 'tune.warm=["runs/done"]'""",
        ("'mf', not 'ease'", "leave it out"),
    ),
    Case(
        "An invalid database",
        "tune mf.toml --out runs/new --storage nonsense",
        ("nonsense", "cannot be used", "postgresql://"),
        theirs=r"used: ([^;]*)",
    ),
    Case(
        "A full disk",
        "tune mf.toml --out runs/new",
        ("runs/new", "the disk is full"),
        around=("the disk is full", full_disk),
        code=75,
    ),
]

GROUPS = {
    "The command line": COMMANDS,
    "Settings": SETTINGS,
    "Data": DATA,
    "Logs": LOGS,
    "Splits": SPLITS,
    "Splits that ask with histories": QUESTIONS,
    "Training": TRAINING,
    "Runs": RUNS,
    "Recommending": RECOMMENDING,
    "Recommending by histories": HISTORIES,
    "Tuning": TUNING,
    "Exporting": EXPORTING,
}

ALL = [(group, case) for group, cases in GROUPS.items() for case in cases]
