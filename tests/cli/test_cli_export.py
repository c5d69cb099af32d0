"""`recsys export`: a search in the exported vectors gives the lists of `recsys recommend`."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from mistakes import LOG, MF, invoke

from recsys.experiment.execution import open_run
from recsys.serving.ann_index import nearest, read_index

DPCML = MF.replace(
    'name = "mf"\ndim = 8', 'name = "dpcml"\ndim = 8\nvectors = 3\nassign = "adaptive"'
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two methods, with one vector per user and with several, over items with titles."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "log.csv").write_text(LOG)
    (folder / "items.csv").write_text(
        "item,title\n" + "".join(f"i{i:02d},Thing {i}\n" for i in range(30))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in (("mf", MF), ("dpcml", DPCML)):
            (folder / f"{name}.toml").write_text(
                text.replace("[model]", 'titles = "items.csv"\n\n[model]', 1)
            )
            code, _, err = invoke(f"run {name}.toml -q --out runs/{name} name={name}")
            assert code == 0, err
    return folder


def run(command: str) -> str:
    code, out, err = invoke(command)
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("name", ["mf", "dpcml"])
def test_what_is_written_is_what_is_recommended(
    made: Path, tmp_path: Path, name: str, kind: str
) -> None:
    out = tmp_path / "vectors"
    said = json.loads(run(f"export {made}/runs/{name} --out {out} --index {kind} --json"))
    assert said["folder"] == str(out)
    assert [Path(path).name for path in said.pop("files")] == [
        "items.parquet",
        "users.parquet",
        "items.faiss",
        "manifest.json",
    ]
    assert said.pop("folder")
    assert said == json.loads((out / "manifest.json").read_text())
    sizes = {"links": 32, "build": 200, "search": 64} if kind == "hnsw" else {}
    index = {"file": "items.faiss", "kind": kind, "row": "that of items.parquet", **sizes}
    assert (said["method"], said["index"]) == (name, index)
    opened = open_run(made / "runs" / name)
    assert said["fingerprint"] == opened.fingerprint
    users, items = (pl.read_parquet(out / f"{table}.parquet") for table in ("users", "items"))
    assert items["title"].to_list() == [f"Thing {int(item[1:])}" for item in items["item"]]
    assert len(users) == said["vectors_per_user"]["all"]
    listed = json.loads(run(f"recommend {made}/runs/{name} --user u03 -k 5 --json"))
    mine = users.filter(pl.col("user") == "u03")["vector"].to_numpy()
    seen = opened.train.pairs.csr[opened.train.users.rows(["u03"])]
    found = nearest(
        read_index(out / "items.faiss"),
        mine[None],
        5,
        seen=seen,
        ids=items["item"],
        offset=said["offset"],
    )
    assert found["item"].to_list() == [row["item"] for row in listed]


def test_what_is_printed(made: Path, tmp_path: Path) -> None:
    printed = run(f"export {made}/runs/dpcml --out {tmp_path}/vectors --index flat")
    rows = pl.read_parquet(tmp_path / "vectors" / "users.parquet").height
    assert f"{tmp_path}/vectors/items.parquet" in printed
    assert f"{rows} vectors of 30 users x 8" in printed
    assert "30 items x 8" in printed
    assert "flat index of the items" in printed
    assert printed.endswith(
        "score = minus the squared Euclidean distance, the best of a user's vectors\n"
    )
    printed = run(f"export {made}/runs/mf --out {tmp_path}/plain")
    assert printed.splitlines()[-1].startswith("score = ")
    assert "best of" not in printed
    assert "faiss" not in printed
