"""Relations from the formats in which they are published."""

import numpy as np
import pytest

from recsys.data.load import load
from recsys.data.relations import Relations
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.summary import summary
from recsys.data.types import Vocab
from recsys.errors import InputError


@pytest.fixture
def folder(tmp_path):
    rows = [(u, i) for u in range(1, 6) for i in range(3) if (u + i) % 3]
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    return tmp_path


def test_recbole_knowledge_is_linked(folder):
    text = "head_id:token\trelation_id:token\ttail_id:token\n"
    text += "m.a\tfilm.actor\tm.x\nm.b\tfilm.actor\tm.x\nm.x\tborn\tm.y\nm.a\tfilm.actor\tm.x\n"
    (folder / "k.kg").write_text(text)
    (folder / "k.link").write_text("item_id:token\tentity_id:token\n0\tm.a\n2\tm.b\n7\tm.z\n")
    data = load(folder / "log.csv", relations={"knowledge": "k.kg"}).dataset
    relations = data.relations["knowledge"]
    assert len(relations) == 3  # one triple was there twice
    assert relations.names == ("born", "film.actor")
    assert relations.others.ids.to_list() == ["m.x", "m.y"]
    assert relations.n_entities == 5
    triples = set(zip(relations.head, relations.relation, relations.tail, strict=True))
    assert triples == {(0, 1, 3), (2, 1, 3), (3, 0, 4)}
    assert relations.linked.tolist() == [True, False, True]
    figures = summary(load(folder / "log.csv", relations={"knowledge": "k.kg"}))
    size = figures.relations["knowledge"]
    assert (size.triples, size.entities, size.relations) == (3, 5, 2)
    assert size.linked == pytest.approx(2 / 3)


def test_kgat_numbers_entities_after_the_items(folder):
    (folder / "kg_final.txt").write_text("0 3 12\n1 3 12\n12 0 40\n")
    data = load(folder / "log.csv", relations={"knowledge": "kg_final.txt"}).dataset
    relations = data.relations["knowledge"]
    assert relations.others.ids.to_list() == ["12", "40"]
    assert relations.head.tolist() == [0, 1, 3]
    assert relations.names == ("0", "3")


@pytest.mark.parametrize("header", ["", "source_id:token\ttarget_id:token\n"])
def test_social_edges_are_between_known_users(folder, header):
    (folder / "t.net").write_text(header + "1\t2\n2\t3\n3\t99\n4\t4\n1\t2\n")
    loaded = load(folder / "log.csv", relations={"social": "t.net"})
    relations = loaded.dataset.relations["social"]
    assert (relations.head.tolist(), relations.tail.tolist()) == ([0, 1], [1, 2])
    assert relations.first == "user"
    assert relations.n_entities == 5
    notes = [each.message for each in loaded.dataset.findings if "edge" in each.message]
    assert any("2 edges to unknown users or to themselves" in note for note in notes)
    parts = split(loaded, SplitRule(ratios=(0.6, 0.2, 0.2)))
    assert parts.train.relations["social"] is relations


def test_mistakes(folder):
    (folder / "bad.kg").write_text("a\tb\tc\td\n")
    (folder / "far.kg").write_text("x\ty\tz\n")
    (folder / "gap.kg").write_text("0\ty\t\n")
    for given, message in (
        ({"knowledge": "bad.kg"}, "has 4 columns, expected 3 or 2"),
        ({"knowledge": "far.kg"}, "no item of the data has an edge"),
        ({"knowledge": "gap.kg"}, "a field is empty"),
        ({"knowledge": "none.kg"}, "no such file"),
        ({"friends": "far.kg"}, "choose knowledge or social"),
        ({"knowledge": {"path": "far.kg", "links": "x"}}, "unknown key 'links'"),
    ):
        with pytest.raises(InputError, match=message):
            load(folder / "log.csv", relations=given)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Relations(np.array([0]), np.array([0]), np.array([5]), ("r",), 2, Vocab.range(0, "entity"))


def test_films_and_their_knowledge(shared_data):
    folder = shared_data / "ml-100k-kg"
    if not (folder / "ml-100k.kg").is_file():
        pytest.skip("the knowledge graph is not here")
    path = str(folder / "ml-100k.kg")
    log = shared_data / "ml-100k" / "u.data"
    data = load(log, relations={"knowledge": path}).dataset
    relations = data.relations["knowledge"]
    assert len(relations) == 91_631
    assert len(relations.names) == 24
    assert relations.linked.sum() > 1_500
