"""Files are whole or not there, and a file that is not ours is one clear error."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import scipy.sparse as sp
import torch
from asking import asked
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import InputError
from recsys.files import read_json, write_atomic, write_json
from recsys.scorer import Factors, Product, Sum
from recsys.tensors import load_scorer, read_tensors, save_scorer, write_tensors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomic(path, lambda temporary: temporary.write_text("one"))
    seen = []

    def produce(temporary: Path) -> None:
        temporary.write_text("two")
        seen.append((path.read_text(), temporary.parent))

    write_atomic(path, produce)
    assert seen == [("one", path.parent)]
    assert path.read_text() == "two"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize(
    "fault",
    [ValueError("no"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()],
)
def test_a_failing_producer_leaves_the_old_file(tmp_path, fault):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def produce(temporary: Path) -> None:
        temporary.write_text("half")
        raise fault

    with pytest.raises(InputError if isinstance(fault, OSError) else type(fault)) as caught:
        write_atomic(path, produce)
    if isinstance(fault, OSError):
        assert "the disk is full" in str(caught.value)
        assert str(path) in str(caught.value)
        assert caught.value.remedy
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_disk_that_fills_at_the_flush(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for attempt in (
        lambda: write_json(path, {"a": 1}),
        lambda: write_tensors(path, {"a": torch.ones(2)}, {}),
    ):
        with pytest.raises(InputError, match="the disk is full"):
            attempt()
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file.txt"]


def test_a_disk_that_fills_while_safetensors_writes(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_tensors(tmp_path / "a", {"a": torch.ones(2)}, {})
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
        with pytest.raises(InputError, match="cannot be written") as caught:
            write_json(path, 1)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        write_json(locked / "a.json", 1)


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "taken", 1)
    assert names(tmp_path) == ["taken"]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(plain)
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"{'a': 1}"])
def test_json_that_is_none(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_json(path)
    assert caught.value.place == str(path)


def test_what_is_missing(tmp_path):
    for read in (read_json, read_tensors, load_scorer):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / "nothing")
        with pytest.raises(InputError):
            read(tmp_path)


def test_tensors_come_back(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    tensors = {
        "a": whole,
        "column": whole[:, 1],
        "turned": whole.T,
        "scalar": torch.tensor(3),
        "none": torch.empty(0, 2),
        "flags": torch.tensor([True, False]),
    }
    meta = {"text": "é ☃ 😀", "number": 0.1, "list": [1, None]}
    write_tensors(tmp_path / "t", tensors, meta)
    got, about = read_tensors(tmp_path / "t")
    assert about == meta
    assert got.keys() == tensors.keys()
    assert all(
        torch.equal(got[name], tensor) and got[name].dtype == tensor.dtype
        for name, tensor in tensors.items()
    )


def test_one_tensor_under_two_names(tmp_path):
    one = torch.ones(3, 2, requires_grad=True)
    write_tensors(tmp_path / "t", {"a": one, "b": one, "head": one[:1]}, {})
    got, _ = read_tensors(tmp_path / "t")
    assert torch.equal(got["a"], got["b"])
    assert torch.equal(got["head"], one[:1])


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path):
    trap, path = tmp_path / "sprung", tmp_path / "scorer.safetensors"
    path.write_bytes(pickle.dumps(_Bomb(trap)))
    with pytest.raises(InputError, match="not a readable safetensors"):
        load_scorer(path)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(InputError, match="not a readable safetensors"):
        load_scorer(path)
    assert not trap.exists()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_an_input_error_or_the_whole_truth(tmp_path_factory, data):
    """Cut anywhere, or with bytes changed in its header: never a traceback of another kind."""
    path = tmp_path_factory.mktemp("damaged") / "scorer.safetensors"
    save_scorer(
        path, Product((sp.eye(3, format="csr", dtype=np.float32), torch.ones(3, 4))), epoch=2
    )
    raw = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(raw[:8], "little")
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, header - 1), min_size=1, max_size=3)):
            raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        scorer, _ = load_scorer(path)
    except InputError as error:
        said = str(error)
    else:
        said = str(path) if scorer.score(asked(torch.arange(3))).shape == (3, 4) else ""
    assert str(path) in said


def test_files_of_other_programs(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    with pytest.raises(InputError, match="another program"):
        load_scorer(path)
    for text in ("{not json", '"text"', "[1, 2]", "3"):
        safetensors.torch.save_file({"a": torch.ones(2)}, path, metadata={"recsys": text})
        with pytest.raises(InputError) as caught:
            load_scorer(path)
        assert str(path) in str(caught.value)
    write_tensors(path, {"a": torch.ones(2)}, {"state": {}})
    with pytest.raises(InputError, match="holds no scorer"):
        load_scorer(path)


@pytest.mark.parametrize(
    "meta",
    [
        {"kind": "robot"},
        {},
        {"kind": "factors", "similarity": "dot"},
        {"kind": "product", "shapes": [[2, 2], None]},
        {"kind": "sum", "parts": [{"kind": "factors"}], "weights": [1.0]},
    ],
)
def test_a_scorer_that_is_not_all_there(tmp_path, meta):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"user": torch.ones(2, 2)}, {"scorer": meta})
    with pytest.raises(InputError) as caught:
        load_scorer(path)
    assert str(path) in str(caught.value)


def test_a_sparse_matrix_may_not_point_outside(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors, meta = Product((sp.eye(3, format="csr", dtype=np.float32), torch.ones(3, 4))).state()
    tensors["0.indices"] = torch.tensor([0, 1, 2**30], dtype=torch.int32)
    write_tensors(path, tensors, {"scorer": meta})
    with pytest.raises(InputError, match="do not fit"):
        load_scorer(path)


def test_scorers_come_back_with_what_was_said(tmp_path):
    shared = torch.randn(4, 3)
    scorer = Sum(
        (Factors(shared, torch.randn(5, 3)), Factors(shared, torch.randn(5, 3), "cosine")),
        (0.25, 2.0),
    )
    save_scorer(tmp_path / "s", scorer, epoch=7)
    again, about = load_scorer(tmp_path / "s")
    assert about["epoch"] == 7
    assert torch.equal(again.score(asked(torch.arange(4))), scorer.score(asked(torch.arange(4))))


def test_the_same_scorer_is_the_same_file(tmp_path):
    scorer = Factors(torch.ones(4, 3), torch.ones(5, 3), "euclidean", torch.zeros(5))
    save_scorer(tmp_path / "a", scorer, epoch=7, name="x")
    save_scorer(tmp_path / "b", scorer, name="x", epoch=7)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads(json.dumps(load_scorer(tmp_path / "a")[1])) == load_scorer(tmp_path / "a")[1]
