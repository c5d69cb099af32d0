"""The built-in data set: what it holds, and that its script makes it from the raw log."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.config import to_dict
from recsys.data.load import load
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import read as read_experiment

FOLDER = Path(__file__).parents[2] / "data" / "online-retail"
TABLES = [
    "interactions.parquet",
    "items.parquet",
    "users.csv",
    "features-text.parquet",
    "features-price.parquet",
]


def read(name: str, folder: Path = FOLDER) -> pl.DataFrame:
    return pl.read_parquet(folder / name)


def values(name: str, folder: Path = FOLDER) -> np.ndarray:
    return np.array(read(name, folder)["values"].to_list(), dtype=np.float64)


@pytest.fixture(scope="module")
def raw(shared_data) -> Path:
    path = shared_data / "online-retail" / "online_retail.csv.xz"
    if not path.is_file():
        pytest.skip("the raw log is not here")
    return path


def test_it_is_small_and_unchanged():
    assert sum(p.stat().st_size for p in FOLDER.iterdir() if p.is_file()) < 2_000_000
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    sums = {line.split("  ")[1]: line.split("  ")[0] for line in lines}
    assert sorted(sums) == sorted(TABLES)
    for name, expected in sums.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected


def test_interactions():
    frame = read("interactions.parquet")
    kinds = {
        "user": pl.Int32,
        "item": pl.String,
        "time": pl.Int32,
        "quantity": pl.Int32,
        "cancelled": pl.Boolean,
        "kept": pl.Boolean,
        "InvoiceNo": pl.Int32,
    }
    assert dict(frame.schema) == kinds
    assert frame.null_count().sum_horizontal().item() == 0
    assert (frame["user"].n_unique(), frame["item"].n_unique(), frame.height) == (
        4335,
        3659,
        386_354,
    )
    assert frame.select("user", "item").n_unique() == 266_226
    assert frame.select("user", "item", "InvoiceNo").is_unique().all()
    assert frame.select("user", "InvoiceNo").n_unique() == frame["InvoiceNo"].n_unique() == 18_405
    assert frame["time"].is_sorted()
    first = frame.unique("time", keep="first", maintain_order=True)
    # No spelling orders what was bought at one moment.
    tied = frame.join(first.select("time", one="item"), on="time", maintain_order="left")
    assert 0.2 < (tied["item"] >= tied["one"]).mean() < 0.8
    assert frame.filter("cancelled").select("user", "item").n_unique() == 6904
    assert (frame["cancelled"] != frame["kept"]).all()
    assert frame["quantity"].min() == 1


def test_items_and_features_belong_together():
    items = read("items.parquet")
    assert items["item"].to_list() == sorted(set(read("interactions.parquet")["item"]))
    assert items["description"].str.len_chars().min() > 0
    assert not items["description"].str.contains(r"^\s|\s$|\s\s").any()
    assert items["price"].min() > 0
    for name in ("features-text.parquet", "features-price.parquet"):
        assert set(read(name)["item"]) <= set(items["item"])
    text = values("features-text.parquet")
    assert text.shape == (3659, 64)
    assert np.abs(np.linalg.norm(text, axis=1) - 1).max() < 2e-3


def test_price_feature_follows_the_price():
    price = np.log(read("items.parquet")["price"].to_numpy().astype(np.float64))
    found = values("features-price.parquet")
    assert found.shape == (3659, 11)
    assert np.abs(found[:, 0] - (price - price.mean()) / price.std()).max() < 5e-3
    assert (found[:, 1:].sum(axis=1) == 1).all()
    decile = found[:, 1:].argmax(axis=1)
    assert (np.diff(decile[np.argsort(price, kind="stable")]) >= 0).all()
    share = np.bincount(decile) / len(decile)  # ties make them uneven
    assert share.min() > 0.05
    assert share.max() < 0.15


def test_text_feature_follows_the_description():
    text, name = values("features-text.parquet"), read("items.parquet")["description"].to_list()
    same = defaultdict(list)
    for row, description in enumerate(name):
        same[description].append(row)
    twins = [rows for rows in same.values() if len(rows) > 1]
    assert twins
    assert all(np.array_equal(text[rows[0]], text[row]) for rows in twins for row in rows)
    last = defaultdict(list)  # "... BAG" and "... BAG" are nearer than any two
    for row, description in enumerate(name):
        last[description.split()[-1]].append(row)
    near = np.mean([text[rows[0]] @ text[rows[1]] for rows in last.values() if len(rows) > 9])
    far = np.mean(text[:-1:7] @ text[1::7].T)
    assert near > far + 0.2


def test_readme_gives_credit_and_the_numbers():
    text = (FOLDER / "README.md").read_text()
    for needed in (
        "Chen, D.",
        "10.24432/C5BW33",
        "CC BY 4.0",
        "creativecommons.org/licenses/by/4.0",
        "266,226",
        "386,354",
        "18,405",
        "4,335",
        "3,659",
        "6,904",
    ):
        assert needed in text


def purchases(raw: Path) -> tuple[list[tuple[int, str, int, str, int]], set[tuple[int, str]]]:
    """Read the raw log with the standard library, sharing nothing with the script.

    Returns:
        Customer, article, second, invoice and units of each line that bought an article, in the
        order of the log; and customer and article of each cancellation.
    """
    with lzma.open(raw, "rt", encoding="utf-8", newline="") as file:
        log = list(csv.reader(io.StringIO(file.read())))[1:]
    assert len(log) == 541_909
    bought, cancelled = [], set()
    for invoice, code, _, quantity, date, _, customer, _ in log:
        if not customer or len(code) < 5 or not all("0" <= c <= "9" for c in code[:5]):
            continue
        pair = (int(float(customer)), code)
        if invoice.startswith("C"):
            cancelled.add(pair)
            continue
        second = int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())
        bought.append((*pair, second, invoice, int(quantity)))
    return sorted(bought, key=lambda line: line[2]), cancelled


def test_interactions_equal_a_plain_count_of_the_raw_log(raw):
    """Row by row: events in order, and pairs with the number of their invoices."""
    bought, cancelled = purchases(raw)
    events: dict[tuple[int, str, int], list] = {}
    for user, item, second, invoice, units in bought:
        event = events.setdefault((user, item, int(invoice)), [second, 0])
        event[1] += units
    expected = [
        (user, item, second, units, (user, item) in cancelled, invoice)
        for (user, item, invoice), (second, units) in events.items()
    ]
    assert read("interactions.parquet").drop("kept").rows() == expected
    first: dict[tuple[int, str], list] = {}
    for user, item, second, invoice, units in bought:
        first.setdefault((user, item), [second, set(), 0])[1].add(invoice)
        first[user, item][2] += units
    data = load("online-retail").dataset
    pairs = data.pairs
    found = zip(
        data.users.ids.gather(pairs.user),
        data.items.ids.gather(pairs.item),
        pairs.time.tolist(),
        pairs.weight.tolist(),
        pairs.clean.tolist(),
        strict=True,
    )
    assert {(user, item): rest for user, item, *rest in found} == {
        pair: [second, len(invoices), int(pair not in cancelled)]
        for pair, (second, invoices, _) in first.items()
    }
    by_units = load("online-retail", weight="quantity").dataset.pairs
    assert by_units.weight.sum() == sum(units for *_, units in bought)


def test_the_log_has_every_event_with_its_invoice():
    frame = read("interactions.parquet")
    plain = load("online-retail").dataset
    data = load("online-retail", keep_log=True).dataset
    assert data.pairs.fingerprint == plain.pairs.fingerprint
    assert data.log.session is None
    data = load("online-retail", keep_log=True, session="InvoiceNo").dataset
    log = data.log.take(data.log.chronological)
    assert data.users.ids.gather(log.user).to_list() == frame["user"].to_list()
    assert data.items.ids.gather(log.item).to_list() == frame["item"].to_list()
    assert data.sessions.ids.gather(log.session).to_list() == frame["InvoiceNo"].to_list()
    assert log.time.tolist() == frame["time"].to_list()
    assert len(data.log.visits) == 18_405


# `Split.fingerprint` of the configurations, as of the file that held pairs alone. Runs, studies and
# tables of earlier versions hold them.
PRINTS = {
    "ratio": "af04bf4506dfe22194cf7fb54fe0fd051ca224e9a3538aaa884efd391e3fb305",
    "label": "81a8fc78ff2ea1f39bc6d7e21e96edd0905e5663b3bae5e8819f461889351e37",
    "new-item": "a26775c9fa0bbf56c7c99c748888c483ceaa10491407f357f353967409243011",
    "basket": "9cf8e58348e60929a0295ca64531f08889b66b7116d25bc9c351dca2dc293173",
}


def test_the_splits_of_the_configurations_are_those_of_earlier_versions():
    """A run of a version without countries stored a fingerprint without them."""
    splits = {}
    configs = sorted((FOLDER.parents[1] / "configs" / "online-retail").glob("*.toml"))
    for config in configs:
        experiment = read_experiment(config, [])
        settings = json.dumps([to_dict(experiment.data), to_dict(experiment.split)])
        if settings not in splits:
            splits[settings] = data_of(experiment)
        assert splits[settings].matches(PRINTS[experiment.split.by]), config
    assert len(splits) == len(PRINTS)


def make(raw: Path, out: Path, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / "make.py"), str(raw), "--out", str(out)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_script_makes_what_is_shipped(raw, tmp_path):
    """The same bytes under the versions README.md names; else equal up to rounding."""
    pytest.importorskip("sklearn")
    done = make(raw, tmp_path, POLARS_MAX_THREADS="1")
    assert done.returncode == 0, done.stderr
    readme = (FOLDER / "README.md").read_text()
    if all(
        f"{package} {version(package)}" in readme
        for package in ("polars", "numpy", "scipy", "scikit-learn")
    ):
        assert (tmp_path / "SHA256SUMS").read_text() == (FOLDER / "SHA256SUMS").read_text()
    for name in TABLES[:2]:
        assert read(name, tmp_path).equals(read(name))
    assert (tmp_path / TABLES[2]).read_bytes() == (FOLDER / TABLES[2]).read_bytes()
    for name in TABLES[3:]:
        assert read(name, tmp_path)["item"].equals(read(name)["item"])
        assert np.abs(values(name, tmp_path) - values(name)).max() < 5e-3


def test_script_refuses_another_file(tmp_path):
    other = tmp_path / "online_retail.csv.xz"
    other.write_bytes(lzma.compress(b"InvoiceNo,StockCode\n1,2\n"))
    done = make(other, tmp_path / "out")
    assert done.returncode == 1
    assert "not the file" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
