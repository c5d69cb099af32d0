"""Users, histories and items take one road: what each form of a request asks, and what it gets."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from asking import asked_by
from oracle import tie
from planted import two_camps

import recsys
from recsys.api import recommend
from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset, Vocab
from recsys.errors import InputError
from recsys.models.ease import EASE
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.popular import Popular
from recsys.ranking import top_k
from recsys.scorer import Blend, Dense, Factors, Fallback
from recsys.serving import Request, ask, read_histories, similar_items, write_recommendations
from recsys.serving import recommend as serve


def world() -> Dataset:
    """Two camps of users and items; the last item has no interaction."""
    pairs = two_camps(users=60)[0].pairs
    return Dataset(
        pairs,
        Vocab(pl.Series([f"u{i:02d}" for i in range(pairs.n_users)]), "user"),
        Vocab(pl.Series([f"i{i:02d}" for i in range(pairs.n_items)]), "item"),
    )


TRAIN = world()
EASY = EASE(l2=5.0).build(TRAIN)
RNG = np.random.default_rng(0)
PLAIN = Factors(
    *(
        torch.from_numpy(RNG.normal(size=(n, 4)).astype(np.float32))
        for n in (TRAIN.n_users, TRAIN.n_items)
    )
)
GIVEN = {"zoe": ["i08", "i02", "i04"], "max": ["i05"]}


@dataclass
class LastItem:
    """A scorer that reads the order: the successor of the last item, then of the one before it."""

    n_users: int = TRAIN.n_users
    n_items: int = TRAIN.n_items
    kind: str = "last-item"
    answers: frozenset[str] = frozenset(("history",))
    asked: list[Queries] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def plan(self) -> Dense:
        return Dense()

    def score(self, queries: Queries) -> torch.Tensor:
        self.asked.append(queries)
        scores = torch.zeros(len(queries), self.n_items)
        assert queries.history is not None
        for row, items in enumerate(queries.history):
            for place, item in enumerate(items.tolist()):
                scores[row, (item + 1) % self.n_items] = place + 1
        return scores


LOG = pl.DataFrame(
    {
        "user": ["zoe", "max", "zoe", "zoe", "zoe", "max"],
        "item": ["i04", "i05", "i08", "i02", "i08", "i07"],
        "time": [30, 5, 10, 20, 20, 5],
    }
)


def items_of(histories: Histories) -> list[list[str]]:
    return [TRAIN.items.ids.gather(items).to_list() for items in histories]


def test_order_repeats_and_times_are_kept() -> None:
    """By time, equal times in the order of the rows; an item that comes twice is there twice."""
    scorer: Any = LastItem()
    asked = ask(scorer, TRAIN, Request(histories=LOG))
    history = asked.queries.history
    assert history is not None
    assert asked.ids.to_list() == ["zoe", "max"]
    assert items_of(history) == [["i08", "i02", "i08", "i04"], ["i05", "i07"]]
    assert history.packed().time.tolist() == [10, 20, 20, 30, 5, 5]
    assert asked.queries.now.tolist() == [30, 5]
    rows = serve(scorer, TRAIN, Request(k=1, histories=LOG)).select("user", "item").rows()
    assert rows == [("zoe", "i05"), ("max", "i08")]
    turned = LOG.with_columns(time=-pl.col("time"))
    rows = serve(scorer, TRAIN, Request(k=1, histories=turned)).select("user", "item").rows()
    assert rows == [("zoe", "i09"), ("max", "i08")], "the last event of zoe is i08 now"


def test_unknown_items_leave_the_others_in_their_places() -> None:
    log = pl.concat(
        [LOG, pl.DataFrame({"user": ["zoe", "eve"], "item": ["x1", "x2"], "time": [15, 99]})]
    )
    scorer: Any = LastItem()
    asked = ask(scorer, TRAIN, Request(histories=log))
    history = asked.queries.history
    assert history is not None
    assert items_of(history)[0] == ["i08", "i02", "i08", "i04"]
    assert history.packed().time.tolist() == [10, 20, 20, 30, 5, 5]
    assert asked.queries.now.tolist() == [30, 5, 99]
    assert asked.answered.tolist() == [True, True, False]
    assert asked.notes == (
        "2 of 7 items of the histories unknown to the run, such as 'x1': 2 of 8 events left out",
    )


def forms(folder: Path) -> dict[str, Any]:
    """The same two histories in every form."""
    frame = pl.DataFrame(
        {
            "user": [user for user, items in GIVEN.items() for _ in items],
            "item": [item for items in GIVEN.values() for item in items],
            "time": [7, 8, 9, 1],
        }
    )
    lines = [json.dumps({"id": user, "items": items}) for user, items in GIVEN.items()]
    (folder / "h.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "lines.txt").write_text("\n\n".join(lines))
    frame.write_csv(folder / "log.csv")
    frame.write_parquet(folder / "log.parquet")
    frame.rename({"user": "basket", "item": "stock_code"}).write_csv(folder / "baskets.csv")
    return {
        "frame": frame,
        "pandas": pd.DataFrame(frame.to_dict(as_series=False)),
        "lazy": frame.lazy(),
        "other ids": frame.rename({"user": "Session ID"}),
        "mapping": GIVEN,
        "tuples": {user: tuple(items) for user, items in GIVEN.items()},
        "csv": folder / "log.csv",
        "text of a path": str(folder / "log.csv"),
        "parquet": folder / "log.parquet",
        "baskets": folder / "baskets.csv",
        "json lines": folder / "h.jsonl",
        "json lines by their first": folder / "lines.txt",
        "read before": read_histories(folder / "h.jsonl"),
    }


def test_every_form_of_the_same_histories_gets_the_same_lists(tmp_path: Path) -> None:
    expected = naive(EASY, GIVEN, 5)
    for name, given in forms(tmp_path).items():
        lists = recommend(EASY, TRAIN, k=5, histories=given)
        assert isinstance(lists, pd.DataFrame) == (name == "pandas"), name
        assert list(lists.columns) == ["user", "item", "rank", "score", "source"]
        rows = pl.DataFrame(lists) if name == "pandas" else lists
        assert rows.select("user", "item", "rank").rows() == expected, name
        assert set(rows["source"]) == {"model"}
    assert serve(EASY, TRAIN, Request(k=5, histories=GIVEN)).drop("score").rows() == [
        (*row, "model") for row in expected
    ]


def naive(scorer: Any, given: dict[str, list[str]], k: int, *, seen: bool = True) -> list:
    """user, item, rank, one history at a time."""
    rows = []
    for user, items in given.items():
        known = [int(item[1:]) for item in items]
        scores = scorer.score(Queries.of_histories(Histories.of_lists([known])))[0]
        free = [i for i in range(TRAIN.n_items - 1) if not (seen and i in known)]
        best = sorted(free, key=lambda i: (-float(scores[i]), tie(i)))[:k]
        rows += [(user, f"i{i:02d}", rank) for rank, i in enumerate(best, 1)]
    return rows


def test_lists_are_called_by_their_positions_or_by_users() -> None:
    lists = recommend(EASY, TRAIN, k=2, histories=list(GIVEN.values()))
    assert lists["user"].to_list() == [0, 0, 1, 1]
    named = recommend(EASY, TRAIN, ["u03", "x"], 2, histories=list(GIVEN.values()))
    assert named["user"].to_list() == ["u03", "u03", "x", "x"]
    assert named["item"].to_list() == lists["item"].to_list()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id": 7, "items": ["i05"]}\n'))
    given = read_histories("-")
    assert given.form == "standard input: JSON lines, 1 history"
    lists = recommend(EASY, TRAIN, k=1, histories=given)
    assert lists["user"].to_list() == [7]


def test_a_file_says_how_it_was_read(tmp_path: Path) -> None:
    files = {name: given for name, given in forms(tmp_path).items() if isinstance(given, Path)}
    assert {name: read_histories(path).form for name, path in files.items()} == {
        "csv": f"{tmp_path}/log.csv: a log, 2 histories in order of time (ids: user, items: item)",
        "parquet": f"{tmp_path}/log.parquet: a log, 2 histories in order of time "
        "(ids: user, items: item)",
        "baskets": f"{tmp_path}/baskets.csv: a log, 2 histories in order of time "
        "(ids: basket, items: stock_code)",
        "json lines": f"{tmp_path}/h.jsonl: JSON lines, 2 histories",
        "json lines by their first": f"{tmp_path}/lines.txt: JSON lines, 2 histories",
    }


def test_the_columns_of_the_run_come_first(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,Kunde,Artikel,wann\nx,zoe,i08,2\nx,zoe,i02,1\n")
    given = read_histories(path, {"user": "Kunde", "item": "Artikel", "time": "wann"})
    assert list(given.ids) == ["zoe"]
    assert list(given.item) == ["i02", "i08"]


def test_returned_goods_are_no_events(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a", "a"], "item": ["i05", "i07"], "weight": [1.0, -1.0]})
    with pytest.warns(UserWarning, match="weight above 0"):
        lists = recommend(EASY, TRAIN, k=3, histories=frame)
    assert lists["item"].to_list() == [item for _, item, _ in naive(EASY, {"a": ["i05"]}, 3)]


def test_items_of_the_history_are_left_out_unless_asked_for() -> None:
    every = recommend(EASY, TRAIN, k=60, histories=GIVEN)
    kept = recommend(EASY, TRAIN, k=60, histories=GIVEN, filter_seen=False)
    for user, items in GIVEN.items():
        without = set(every.filter(pl.col("user") == user)["item"])
        assert set(kept.filter(pl.col("user") == user)["item"]) - without == set(items)
    best = recommend(EASY, TRAIN, k=9, histories=GIVEN, filter_seen=False)
    assert best.select("user", "item", "rank").rows() == naive(EASY, GIVEN, 9, seen=False)


def test_candidates_and_exclusions_hold_for_histories_and_items() -> None:
    options: dict[str, Any] = {"candidates": ["i05", "i06", "i07"], "exclude": ["i06"]}
    lists = recommend(EASY, TRAIN, k=9, histories=GIVEN, **options)
    by = {user: set(lists.filter(pl.col("user") == user)["item"]) for user in GIVEN}
    assert by == {"zoe": {"i05", "i07"}, "max": {"i07"}}
    lists = recommend(EASY, TRAIN, k=9, items=["i05", "i08"], **options)
    by = {item: set(lists.filter(pl.col("query_item") == item)["item"]) for item in ("i05", "i08")}
    assert by == {"i05": {"i07"}, "i08": {"i05", "i07"}}


@pytest.mark.parametrize("given", [{"a": []}, {"a": ["x1", "x2"]}], ids=["empty", "unknown"])
@pytest.mark.filterwarnings("ignore:2 of . items of the histories")
def test_a_history_without_a_known_item_gets_what_is_popular(given: dict) -> None:
    lists = recommend(EASY, TRAIN, k=4, histories={**given, "zoe": ["i02"]})
    of_a = lists.filter(pl.col("user") == "a")
    stranger = recommend(EASY, TRAIN, ["stranger"], 4)
    assert of_a["item"].to_list() == stranger["item"].to_list()
    assert set(of_a["source"]) == {"popular"}
    assert recommend(EASY, TRAIN, k=4, histories=given, unknown="skip").rows() == []
    with pytest.raises(InputError, match=r"history 'a' holds no known item \(1 of 1 histories\)"):
        recommend(EASY, TRAIN, k=4, histories=given, unknown="error")


def test_who_places_users_answers_an_empty_history() -> None:
    for scorer in (Popular().build(TRAIN), Fallback.of(EASY, Popular().build(TRAIN), TRAIN.pairs)):
        lists = recommend(scorer, TRAIN, k=3, histories={"a": []})
        assert set(lists["source"]) == {"model"}


def test_a_history_whose_candidates_score_the_same_gets_what_is_popular() -> None:
    scorer: Any = LastItem()
    pool = ["i20", "i30", "i33"]
    lists = recommend(scorer, TRAIN, k=2, histories={"a": ["i05"]}, candidates=pool)
    assert set(lists["source"]) == {"popular"}
    with pytest.raises(InputError, match="history 'a' gets the same score for every candidate"):
        recommend(scorer, TRAIN, k=2, histories={"a": ["i05"]}, candidates=pool, unknown="error")


def test_an_item_is_a_history_of_one_item() -> None:
    for scorer in (EASY, ItemKNN(k=40).build(TRAIN), IALS(dim=8, sweeps=2).build(TRAIN)):
        lists = recommend(scorer, TRAIN, items=["i05", "i08", "i05"], k=3)
        assert lists.columns == ["query_item", "item", "rank", "score", "source"]
        assert set(lists["source"]) == {"model"}
        expected = naive(scorer, {"i05": ["i05"], "i08": ["i08"]}, 3)
        rows = lists.select("query_item", "item", "rank").rows()
        assert rows == [*expected, *expected[:3]]


def test_an_item_is_compared_by_vectors_where_no_history_is_read() -> None:
    lists = recommend(PLAIN, TRAIN, items=["i05", "i08"], k=3)
    assert set(lists["source"]) == {"vectors"}
    similar = similar_items(PLAIN, TRAIN, ["i05", "i08"], 3)
    renamed = lists.rename({"query_item": "item", "item": "similar"}).drop("source")
    assert renamed.equals(similar)


def test_similar_items_are_by_vectors_first_and_by_histories_without() -> None:
    ials = IALS(dim=8, sweeps=2).build(TRAIN)
    vectors = torch.nn.functional.normalize(ials.item, dim=-1)
    near = (vectors[5] @ vectors.T).numpy()
    near[[5, TRAIN.n_items - 1]] = -np.inf
    best = [f"i{i:02d}" for i in np.argsort(-near)[:4]]
    assert similar_items(ials, TRAIN, ["i05"], 4)["similar"].to_list() == best
    assert similar_items(EASY, TRAIN, ["i05"], 4).select("item", "similar", "rank").rows() == (
        naive(EASY, {"i05": ["i05"]}, 4)
    )


def test_items_that_the_run_does_not_know() -> None:
    last = f"i{TRAIN.n_items - 1:02d}"
    for scorer in (EASY, PLAIN):
        lists = recommend(scorer, TRAIN, items=["x1", last, "i05"], k=2)
        assert lists["source"].to_list()[:4] == ["popular"] * 4
        assert recommend(scorer, TRAIN, items=["x1", last], k=2, unknown="skip").rows() == []
        with pytest.raises(InputError, match="unknown item 'x1'"):
            recommend(scorer, TRAIN, items=["x1"], unknown="error")
        with pytest.raises(InputError, match=f"item '{last}' has no training interaction"):
            recommend(scorer, TRAIN, items=["i05", last], unknown="error")


def test_with_both_the_history_wins_where_it_is_read() -> None:
    """The list is that of the history alone, even for a user of training."""
    both = recommend(EASY, TRAIN, ["u03"], 5, histories=[["i05"]])
    assert both["item"].to_list() == [item for _, item, _ in naive(EASY, {"u03": ["i05"]}, 5)]


def test_where_it_is_not_read_the_user_is_asked_and_a_note_says_so() -> None:
    usual = recommend(PLAIN, TRAIN, ["u03"], 60)["item"].to_list()
    note = (
        "this method reads no history: 1 of 2 histories are ranked by what it learned of their "
        "users in training, and what they did since is not read"
    )
    with pytest.warns(UserWarning, match=note):
        lists = recommend(
            PLAIN, TRAIN, k=60, histories={"u03": [usual[1], usual[4]], "new": ["i05"]}
        )
    by = {user: lists.filter(pl.col("user") == user) for user in ("u03", "new")}
    left = [item for item in usual if item not in (usual[1], usual[4])]
    assert by["u03"]["item"].to_list() == left, "neither the items of training nor those since"
    assert set(by["u03"]["source"]) == {"model"}
    assert set(by["new"]["source"]) == {"popular"}
    assert "i05" not in by["new"]["item"]
    with pytest.raises(InputError, match="cannot answer a history: this 'factors' scorer has"):
        recommend(PLAIN, TRAIN, histories={"new": ["i05"]})


def test_ids_that_are_not_of_users_ask_for_no_user() -> None:
    """A session or a position may be written as a user is; it is not that user."""
    numbers = Dataset(TRAIN.pairs, Vocab.range(TRAIN.n_users, "user"), TRAIN.items)
    log = pl.DataFrame({"session": [0, 1], "item": ["i05", "i05"]})
    for given in ([["i05"], ["i05"]], log):
        with pytest.raises(InputError, match="cannot answer a history"):
            recommend(PLAIN, numbers, histories=given)


def test_a_joined_scorer_names_the_part_that_reads_no_history() -> None:
    with pytest.raises(InputError, match="second part of this blend: cannot answer a history"):
        recommend(Blend((EASY, PLAIN), (1.0, 1.0)), TRAIN, histories={"new": ["i05"]})


def test_who_reads_histories_only_gets_those_of_the_users() -> None:
    """Also in a data set without times, where the order is that of the rows."""
    scorer: Any = LastItem()
    lists = recommend(scorer, TRAIN, ["u03", "nobody"], 3)
    assert lists.filter(pl.col("user") == "u03")["source"].unique().to_list() == ["model"]
    assert lists.filter(pl.col("user") == "nobody")["source"].unique().to_list() == ["popular"]
    stored = TRAIN.log.histories.take(np.array([3]))
    assert [each.tolist() for each in scorer.asked[-1].history] == [
        each.tolist() for each in stored
    ]


def test_lists_are_those_of_the_ranking() -> None:
    rows = TRAIN.pairs.csr[[3, 9]]
    known = np.arange(TRAIN.n_items - 1)
    queries = Queries(history=asked_by(rows).history, excludes_history=True)
    best = top_k(EASY, queries, 7, candidates=known)
    given = items_of(asked_by(rows).history)
    lists = recommend(EASY, TRAIN, k=7, histories=given)
    assert lists["item"].to_list() == TRAIN.items.ids.gather(best.item.ravel()).to_list()
    assert lists["score"].to_list() == best.score.ravel().tolist()


# Jobs.


def many() -> dict[str, list[str]]:
    """Eleven histories, one of them empty."""
    rng = np.random.default_rng(4)
    names = [f"v{i}" for i in range(11)]
    return {
        name: [f"i{i:02d}" for i in rng.permutation(40)[: n % 5]] for n, name in enumerate(names)
    }


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("asks", ["histories", "items"])
def test_an_interrupted_job_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, ending: Any, asks: str
) -> None:
    values: Any = many() if asks == "histories" else [f"i{i:02d}" for i in range(11)]
    request = Request(k=4, **{asks: values})

    def write(name: str, tell: Any = None) -> Any:
        return write_recommendations(
            tmp_path / name, EASY, TRAIN, request, batch=3, format=ending, model="m", tell=tell
        )

    write("whole")

    def stop(done: int, _: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("cut", stop)
    assert len(list((tmp_path / "cut" / "lists").iterdir())) == 2
    job = write("cut")
    assert (job.reused, len(job.files)) == (2, 4)
    assert job.users + job.fallback == 11
    whole, cut = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("whole", "cut")
    )
    assert len(whole) > 2
    assert whole == cut
    if ending == "parquet":
        parts = pl.concat([pl.read_parquet(path) for path in job.files])
        assert parts.equals(serve(EASY, TRAIN, request))


def test_other_histories_are_another_job(tmp_path: Path) -> None:
    """Another order, the names alone, or the users or items of these names."""
    given = {"u01": ["i05", "i07"], "u02": ["i08"]}
    usual = write_recommendations(tmp_path / "job", EASY, TRAIN, Request(histories=given))
    again = write_recommendations(tmp_path / "job", EASY, TRAIN, Request(histories=given))
    assert (usual.reused, again.reused) == (0, 1)
    for other in (
        Request(histories={"u01": ["i07", "i05"], "u02": ["i08"]}),
        Request(histories={"u01": ["i05"], "u02": ["i07", "i08"]}),
        Request(histories={"u02": ["i05", "i07"], "u01": ["i08"]}),
        Request(["u01", "u02"]),
    ):
        with pytest.raises(InputError, match=r"another job \(users_fingerprint differ"):
            write_recommendations(tmp_path / "job", EASY, TRAIN, other)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"histories": 5}, "histories: expected histories, got int; give a frame"),
        ({"histories": [5]}, "histories: expected a sequence of items, got 5; give a list"),
        ({"histories": ["i05"]}, "histories: expected a sequence of items, got 'i05'"),
        ({"histories": {"a": "i05"}}, "histories: expected a sequence of items, got 'i05'"),
        ({"histories": {"a": ["i05", None]}}, "histories: 1 of 2 ids is missing; leave it out"),
        ({"histories": {"a": [["i05"]]}}, "histories: expected ids, got List(String)"),
        ({"histories": {"a": [], None: []}}, "users: 1 of 2 ids is missing"),
        (
            {"histories": [["i05"], ["i07"]], "users": ["a", "a"]},
            "histories: duplicate id 'a'; give one history per id",
        ),
        ({"histories": [["i05"]], "users": ["a", "b"]}, "histories: 1 histories for 2 users"),
        (
            {"histories": {"a": ["i05"]}, "users": ["a"]},
            "histories: users and histories go together only if histories is a list",
        ),
        (
            {"histories": pl.DataFrame({"user": ["a"], "colour": ["i05"]})},
            "histories: no column looks like the items; the columns are user, colour; call it item",
        ),
        (
            {"histories": pl.DataFrame({"who": ["a"], "item": ["i05"]})},
            "histories: no column looks like the ids of the histories; the columns are who, item; "
            "call it user, session or id",
        ),
        ({"items": ["i05"], "users": ["u01"]}, "items and users do not go together"),
        ({"items": ["i05"], "histories": [[]]}, "items and histories do not go together"),
        ({"items": ["i05"], "filter_seen": False}, "an item never goes with itself"),
        ({"items": "i05"}, "items: str cannot be read as a list of ids"),
        ({"histories": [[]], "k": 0}, "k must be at least 1, got 0"),
    ],
)
def test_what_is_no_request_is_one_line(arguments: dict, says: str) -> None:
    with pytest.raises(InputError) as caught:
        recommend(EASY, TRAIN, **arguments)
    assert says in str(caught.value)


def test_a_method_that_can_do_neither_says_so() -> None:
    blend = Blend((EASY, PLAIN), (1.0, 1.0))
    with pytest.raises(
        InputError,
        match=r"what goes with an item: this 'blend' scorer neither reads a history nor has",
    ):
        recommend(blend, TRAIN, items=["i05"])


def test_no_histories_get_no_lists() -> None:
    for given in ({}, []):
        lists = recsys.recommend(EASY, TRAIN, histories=given)
        assert lists.shape == (0, 5)
