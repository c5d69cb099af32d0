"""Mistakes of logs, of splits that ask with histories, and of requests by histories and items."""

from __future__ import annotations

from mistakes_base import MF, Case

__all__ = ["HISTORIES", "LOGS", "QUESTIONS"]

_KNN = MF[: MF.index("[model]")] + '[model]\nname = "itemknn"\n' + MF[MF.index("\n[evaluate]") :]
_NO_TIMES = {"flat.csv": "user,item\n" + "".join(f"u{n % 9},i{n % 7}\n" for n in range(60))}
_SESSIONS = "SessionId,ItemId,Time\n" + "".join(
    f"s{n // 3:02d},i{n % 5},{100 * n}\n" for n in range(60)
)

LOGS = [
    Case(
        "Lists in order, and a line without an item",
        "data stats short.txt ordered=true",
        ("short.txt, line 2", "no item"),
        {"short.txt": "1 2 3 4\n2\n"},
    ),
    Case(
        "An order that the file cannot have",
        "data stats pairs.txt format=adjacency ordered=true",
        ("ordered has no effect", "no line has more than one item"),
        {"pairs.txt": "1 2\n2 3\n"},
    ),
    Case(
        "A session without a number",
        "data stats clicks.csv",
        ("clicks.csv, line 3", "no user"),
        {"clicks.csv": "SessionId,ItemId,Time\ns1,i1,1\n,i2,2\n"},
    ),
    Case(
        "RecBole targets whose histories disagree",
        "data stats a.inter",
        ("a.inter, line 2", "the histories of user 'u' disagree"),
        {"a.inter": "user_id:token\titem_id_list:token_seq\titem_id:token\nu\ta\tb\nu\ta c\td\n"},
    ),
    Case(
        "Behaviours without a target",
        "run kinds.toml -q --out runs/new",
        ("the target is missing", "behaviours"),
        {
            "view.txt": "1 2 3\n",
            "buy.txt": "1 2\n",
            "kinds.toml": MF.replace(
                'path = "log.csv"',
                'path = "."\nbehaviour_files = { view = "view.txt", buy = "buy.txt" }',
            ),
        },
    ),
    Case(
        "Clicks that nothing reads",
        "data stats shown.csv clicked=hit",
        ("clicked has no effect without keep_log",),
        {"shown.csv": "user,item,hit\nu1,i1,1\nu1,i2,0\n"},
    ),
    Case(
        "A click that is neither 0 nor 1",
        "data stats shown.csv clicked=hit keep_log=true",
        ("shown.csv, line 2", "'2' is not a click"),
        {"shown.csv": "user,item,hit\nu1,i1,2\nu1,i2,0\n"},
    ),
    Case(
        "A place that does not exist",
        "data stats shown.csv position=place keep_log=true",
        ("shown.csv, line 2", "'0' is not a position"),
        {"shown.csv": "user,item,place\nu1,i1,0\nu1,i2,1\n"},
    ),
]

QUESTIONS = [
    Case(
        "Next items without times",
        "run mf.toml data.path=flat.csv split.by=next-item --out runs/new",
        ("by = 'next-item' needs times", "ordered = true"),
        _NO_TIMES,
    ),
    Case(
        "Sessions without times",
        "run mf.toml data.path=flat.csv split.by=session --out runs/new",
        ("by = 'session' needs times",),
        _NO_TIMES,
    ),
    Case(
        "A method that cannot answer new users",
        "run mf.toml -q split.by=new-user --out runs/new",
        ("cannot answer the queries of this split", "learned vector per user", "itemknn"),
    ),
    Case(
        "A given part that leaves nothing to ask",
        "run knn.toml split.by=new-user split.given=1.0 --out runs/new",
        ("given must be below 1, got 1.0",),
        {"knn.toml": _KNN},
    ),
    Case(
        "Too few new users",
        "run knn.toml split.by=new-user split.new_users=0.01 --out runs/new",
        ("too few for valid and test", "raise the share"),
        {"knn.toml": _KNN},
    ),
    Case("Folds without their number", "run mf.toml split.by=fold", ("by = 'fold' needs folds",)),
    Case(
        "A fold that does not exist",
        "run mf.toml split.by=fold split.folds=3 split.fold=4",
        ("fold = 4, and there are 3 folds",),
    ),
    Case(
        "One fold",
        "run mf.toml split.by=fold split.folds=1",
        ("folds must be at least 2, got 1",),
    ),
    Case(
        "Two cuts in time",
        "run mf.toml split.by=global-time split.test_from=0.5 split.windows=4 split.valid_from=0.2",
        ("valid_from has no effect with windows",),
    ),
    Case(
        "Noise in histories",
        "run mf.toml split.by=next-item split.noise.kind=random",
        ("noise adds pairs, which have no place in a history",),
    ),
    Case(
        "A setting of another rule",
        "run mf.toml split.by=session split.drop_cold=false",
        ("drop_cold has no effect with by = 'session'",),
    ),
    Case(
        "Validation items as candidates of queries with histories",
        "run mf.toml -q split.by=next-item evaluate.keep_valid=true --out runs/new",
        ("keep_valid has no effect", "exclude"),
    ),
    Case(
        "A session of two users",
        "run mf.toml data.path=shared.csv data.session=visit data.keep_log=true split.by=session "
        "--out runs/new",
        ("belongs to two users",),
        {
            "shared.csv": "user,item,time,visit\n"
            + "".join(f"u{n % 4},i{n % 5},{n},v{n // 8}\n" for n in range(64))
        },
    ),
    Case(
        "Neighbours that are sessions, in a log without sessions",
        "run sknn.toml -q --out runs/new",
        ("sessions = true needs sessions",),
        {"sknn.toml": _KNN.replace('"itemknn"', '"sknn"\nsessions = true')},
    ),
]

HISTORIES = [
    Case(
        "A history without a column of items",
        "recommend runs/done --histories visits.txt",
        ("visits.txt", "no column looks like the items"),
        {"visits.txt": "session,thing,when\ns1,i04,1\ns1,i02,2\n"},
    ),
    Case(
        "A method that reads no history",
        "recommend runs/done --histories visits.csv",
        ("runs/done (mf)", "learned vector per user"),
        {"visits.csv": "user,item\nzoe,i01\nmax,i02\n"},
    ),
    Case(
        "The earlier name of --histories",
        "recommend runs/done --new-users visits.csv",
        ("--histories",),
        {"visits.csv": "user,item\nzoe,i01\n"},
    ),
    Case(
        "Histories and users",
        "recommend runs/done --histories visits.csv --user u01",
        ("--user", "--histories"),
        {"visits.csv": "user,item\nzoe,i01\n"},
    ),
    Case(
        "A line that is not JSON",
        "recommend runs/done --histories visits.jsonl",
        ("visits.jsonl, line 2",),
        {"visits.jsonl": '{"id": "a", "items": ["i01"]}\n{"id": "b", items}\n'},
    ),
    Case(
        "An empty file of histories",
        "recommend runs/done --histories visits.csv",
        ("visits.csv",),
        {"visits.csv": ""},
    ),
]
