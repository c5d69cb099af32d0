"""The compiled kernels against the networks in torch, and against a naive loop over an epoch."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.models import Network
from recsys.models.cml import CML
from recsys.models.dpcml import DPCML
from recsys.models.mf import MF
from recsys.nn.diversity import Diversity
from recsys.nn.losses import Loss
from recsys.sampling import Batch, Sampler, proposal_of
from recsys.training.optimizers import EPS, make_optimizers

pytest.importorskip("numba")

from recsys.kernels.arguments import Tables
from recsys.kernels.candidates import candidates_of
from recsys.kernels.counter import uniform
from recsys.kernels.rounds import PairRounds, Round, rules_of, train_round

N_USERS, N_ITEMS, LR = 23, 31, 0.1
POPULAR = Sampler(negatives=4, proposal="popularity")
LOSSES = {
    "bpr": Loss(temperature=0.7),
    "bpr hardest": Loss(reduce="hardest"),
    "bpr top": Loss(reduce="top", top=2),
    "bpr warp": Loss(reduce="warp", margin=0.4),
    "bce": Loss(kind="bce", weight=0.6),
    "hinge": Loss(kind="hinge", margin=0.5),
    "hinge hardest": Loss(kind="hinge", reduce="hardest", margin=0.5),
    "hinge warp": Loss(kind="hinge", reduce="warp", margin=0.5),
    "ccl": Loss(kind="ccl", margin=-0.1, weight=0.7),
    "square": Loss(kind="square", weight=0.3),
    "softmax": Loss(kind="softmax", temperature=0.5),
}
# Recipe and optimiser; the objective of the recipe with a batch of one pair is that of the kernel.
CASES: dict[str, tuple[Any, str]] = {
    **{
        f"mf {name}": (MF(dim=5, loss=loss, sampler=Sampler(negatives=4), init_std=0.5), "adagrad")
        for name, loss in LOSSES.items()
    },
    **{
        f"cml {name}": (CML(dim=5, loss=loss, sampler=Sampler(negatives=4)), "adagrad")
        for name, loss in LOSSES.items()
    },
    "mf sgd": (MF(dim=5, init_std=0.5), "sgd"),
    "mf l2": (MF(dim=5, sampler=Sampler(negatives=9), l2=0.05, init_std=0.5), "sgd"),
    "mf repeated": (
        MF(dim=5, sampler=Sampler(negatives=40, reject=False), init_std=0.5),
        "adagrad",
    ),
    "mf corrected": (MF(dim=5, loss=Loss(kind="softmax"), sampler=POPULAR, init_std=0.5), "sgd"),
    "mf uncorrected": (
        MF(dim=5, loss=Loss(kind="softmax", correct=False), sampler=POPULAR, init_std=0.5),
        "sgd",
    ),
    "cml free sphere": (CML(dim=5, user_space="free", item_space="sphere", radius=0.7), "adagrad"),
    "dpcml": (DPCML(dim=5, vectors=3, diversity=Diversity(weight=0.1)), "adagrad"),
    "dpcml each": (
        DPCML(
            dim=5,
            vectors=3,
            loss=Loss(kind="hinge"),
            diversity=Diversity(weight=3.0, form="paper", low=0.2),
        ),
        "adagrad",
    ),
    "dpcml adaptive": (
        DPCML(dim=5, vectors=4, assign="adaptive", diversity=Diversity(below=False)),
        "adagrad",
    ),
    "dpcml dot": (
        DPCML(dim=5, vectors=2, similarity="dot", item_space="sphere", user_std=0.5),
        "adagrad",
    ),
}


def interactions(seed: int = 0, each: int = 4) -> Interactions:
    rng = np.random.default_rng(seed)
    weight = 1 / (1 + np.arange(N_ITEMS))
    item = [
        rng.choice(N_ITEMS - 3, each + u % 3, replace=False, p=weight[:-3] / weight[:-3].sum())
        for u in range(N_USERS)
    ]
    user = np.repeat(np.arange(N_USERS), [len(row) for row in item])
    return Interactions(user, np.concatenate(item), N_USERS, N_ITEMS)


def dataset(pairs: Interactions) -> Dataset:
    return Dataset(pairs, Vocab.range(N_USERS, "user"), Vocab.range(N_ITEMS, "item"))


def built(recipe: Any, pairs: Interactions) -> Network:
    torch.manual_seed(3)
    network = recipe.build(dataset(pairs))
    assert isinstance(network, Network)
    return network


def stream_of(recipe: Any, pairs: Interactions, blocks: int = 3, seed: int = 1) -> PairRounds:
    return PairRounds(pairs, recipe.sampler, seed=seed, correct=recipe.loss.correct, blocks=blocks)


def run_kernel(
    network: Network, recipe: Any, optimizer: str, rounds: list[Round], threads: int = 1
) -> float:
    """Train the network by the kernel, and return the sum of the losses."""
    task = network.pair_task()
    dim = recipe.dim
    second = [torch.zeros_like(each.weight) for each in (task.user, task.item)]
    arrays = [
        tensor.detach().view(len(tensor), -1, dim).numpy()
        for tensor in (task.user.weight, task.item.weight, *second)
    ]
    if optimizer == "sgd":
        arrays[2:] = [None, None]
    count = None
    if task.vectors > 1:
        count = np.full(N_USERS, task.vectors) if task.count is None else task.count.numpy()
    rules = rules_of(task, recipe.sampler.negatives, eps=EPS, triplets=1)._replace(lr=LR)
    if task.loss.reduce == "each":
        rules = rules._replace(band_weight=rules.band_weight / recipe.sampler.negatives)
    return sum(train_round(Tables(*arrays, count), each, rules, threads) for each in rounds)


def drawn(given: Any, cell: Any, n: int) -> np.ndarray:
    items = np.full(given.number + 1, -7, np.int64)
    number = candidates_of(given, cell, cell.row[n], cell.user[n], items)
    assert (items[1 + number :] == -7).all()
    return items[1 : 1 + number]


def run_torch(network: Network, recipe: Any, optimizer: str, rounds: list[Round]) -> float:
    """Train the network by steps of one pair, and return the sum of their losses."""
    optimizers = make_optimizers(network, optimizer, LR, touched=True)
    pairs_log_q = proposal_of(
        recipe.sampler, torch.bincount(PAIRS_ITEM, minlength=N_ITEMS), None
    ).log_q
    total = 0.0
    for each in rounds:
        for cell in each.cells:
            for n in range(len(cell.row)):
                number = recipe.sampler.negatives
                own = drawn(each.candidates, cell, n)
                neg = torch.zeros(1, number, dtype=torch.int64)
                neg[0, : len(own)] = torch.from_numpy(own)
                mask = torch.arange(number)[None] < len(own)
                pos = torch.tensor(cell.item[n : n + 1], dtype=torch.int64)
                log_q = None if pairs_log_q is None else (pairs_log_q[pos], pairs_log_q[neg])
                batch = Batch(
                    torch.tensor(cell.row[n : n + 1], dtype=torch.int64),
                    torch.tensor(cell.user[n : n + 1], dtype=torch.int64),
                    pos,
                    neg,
                    None if mask.all() else mask,
                    log_q,
                    0,
                    0,
                )
                for one in optimizers:
                    one.zero_grad()
                terms = network.loss(batch)
                terms.total().backward()
                for one in optimizers:
                    one.step()
                network.constrain(batch)
                total += float(terms.pair.detach())
    return total


PAIRS = interactions()
PAIRS_ITEM = torch.tensor(PAIRS.item)


@pytest.mark.parametrize("name", CASES)
def test_an_epoch_is_that_of_steps_of_one_pair_in_torch(name: str) -> None:
    """Over a pair, and over a whole epoch, the tables and the losses are those of autograd."""
    recipe, optimizer = CASES[name]
    if isinstance(recipe, MF) and recipe.l2 and name != "mf l2":
        recipe = copy.copy(recipe)
        object.__setattr__(recipe, "l2", 0.0)
    ours, reference = built(recipe, PAIRS), built(recipe, PAIRS)
    start = [param.detach().clone() for param in ours.parameters()]
    rounds = list(stream_of(recipe, PAIRS).epoch(0))
    cell = next(cell for cell in rounds[0].cells if len(cell.row))
    first = cell._replace(**{key: getattr(cell, key)[:1] for key in ("row", "user", "item")})
    begin = Round([first], rounds[0].candidates, 0, 0)
    for part, tolerance in (([begin], 1e-6), (rounds, 2e-5)):
        loss = run_kernel(ours, recipe, optimizer, part)
        expected = run_torch(reference, recipe, optimizer, part)
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-5)
        pairs = zip(ours.parameters(), reference.parameters(), start, strict=True)
        for got, value, before in pairs:
            np.testing.assert_allclose(got.detach(), value.detach(), rtol=0, atol=tolerance)
            assert part is rounds or (got != before).any()


GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def number_of(key: int, counter: int) -> float:
    z = (key + (counter + 1) * GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return ((z ^ (z >> 31)) >> 11) / 2**53


def test_numbers_are_those_of_splitmix64() -> None:
    """The first outputs of SplitMix64 with seed 1234567, as published with the algorithm."""
    outputs = (6457827717110365317, 3203168211198807973, 9817491932198370423)
    for counter, output in enumerate(outputs):
        assert uniform(np.uint64(1234567), np.uint64(counter)) == (output >> 11) / 2**53
        assert number_of(1234567, counter) == (output >> 11) / 2**53


@pytest.mark.parametrize("reject", [True, False])
def test_candidates_are_those_of_a_naive_loop(reject: bool) -> None:
    sampler = Sampler(negatives=3, reject=reject, rounds=2)
    observed = set(zip(PAIRS.user.tolist(), PAIRS.item.tolist(), strict=True))
    left_out = 0
    for each in PairRounds(PAIRS, sampler, seed=5, blocks=4).epoch(2):
        key, rounds = int(each.candidates.key), 3 if reject else 1
        for cell in each.cells:
            for n, (row, user) in enumerate(zip(cell.row, cell.user, strict=True)):
                expected = []
                for k in range(3):
                    for attempt in range(rounds):
                        place = number_of(key, int(row) * 3 * rounds + k * rounds + attempt)
                        item = int(cell.pool[int(place * len(cell.pool))])
                        if not reject or (int(user), item) not in observed:
                            expected.append(item)
                            break
                assert drawn(each.candidates, cell, n).tolist() == expected
                left_out += 3 - len(expected)
    assert (left_out > 0) == reject


def test_an_epoch_holds_every_pair_once_and_the_cells_of_a_round_share_no_row() -> None:
    stream = PairRounds(PAIRS, Sampler(), seed=5, blocks=4)
    orders = []
    for epoch in (0, 1):
        rounds = list(stream.epoch(epoch))
        assert len(rounds) == len(stream) == 4
        assert sum(map(len, rounds)) == stream.size == len(PAIRS)
        for each in rounds:
            for side in ("user", "item"):
                of_cells = [set(getattr(cell, side).tolist()) for cell in each.cells]
                assert sum(map(len, of_cells)) == len(set().union(*of_cells))
            pools = [item for cell in each.cells for item in cell.pool.tolist()]
            assert sorted(pools) == list(range(N_ITEMS))
            for cell in each.cells:
                assert set(cell.item.tolist()) <= set(cell.pool.tolist())
                assert (PAIRS.user[cell.row] == cell.user).all()
                assert (PAIRS.item[cell.row] == cell.item).all()
        order = np.concatenate([cell.row for each in rounds for cell in each.cells])
        assert sorted(order) == list(range(len(PAIRS)))
        orders.append(order)
    assert (orders[0] != orders[1]).any()
    later = list(stream.epoch(1, 2))
    assert [each.step for each in later] == [2, 3]
    assert (
        np.concatenate([c.row for r in later for c in r.cells])
        == orders[1][-sum(map(len, later)) :]
    ).all()


def counted(sampler: Sampler, epochs: int, blocks: int) -> Counter[tuple[int, int]]:
    counts: Counter[tuple[int, int]] = Counter()
    stream = PairRounds(PAIRS, sampler, seed=0, blocks=blocks)
    for epoch in range(epochs):
        for each in stream.epoch(epoch):
            for cell in each.cells:
                for n, user in enumerate(cell.user.tolist()):
                    counts.update((user, item) for item in drawn(each.candidates, cell, n).tolist())
    return counts


@pytest.mark.parametrize("blocks", [1, 3])
def test_negatives_are_uniform_over_the_items_without_an_interaction(blocks: int) -> None:
    """Chi-square over every (user, item) that may be drawn, at one in a thousand.

    With blocks the draws of an epoch share their block, so they vary somewhat more than draws that
    are independent: the statistic is compared with twice its degrees of freedom.
    """
    from scipy.stats import chi2

    counts = counted(Sampler(negatives=30), 40, blocks)
    observed = set(zip(PAIRS.user.tolist(), PAIRS.item.tolist(), strict=True))
    assert not observed & counts.keys()
    statistic, freedom = 0.0, 0
    for user in range(N_USERS):
        free = [item for item in range(N_ITEMS) if (user, item) not in observed]
        own = np.array([counts[user, item] for item in free])
        statistic += ((own - own.mean()) ** 2 / own.mean()).sum()
        freedom += len(free) - 1
    if blocks == 1:
        assert statistic < chi2.ppf(0.999, freedom)
    else:
        assert own.min() > 0.5 * own.mean()


def test_popularity_draws_are_in_proportion() -> None:
    from scipy.stats import chi2

    sampler = Sampler(negatives=30, proposal="popularity", alpha=0.5, reject=False)
    counts = counted(sampler, 20, 1)
    by_item = np.bincount([item for _, item in counts], [*counts.values()], N_ITEMS)
    frequency = np.bincount(PAIRS.item, minlength=N_ITEMS)
    expected = np.sqrt(frequency) / np.sqrt(frequency).sum() * by_item.sum()
    assert (by_item[frequency == 0] == 0).all()
    known = frequency > 0
    statistic = ((by_item - expected)[known] ** 2 / expected[known]).sum()
    assert statistic < chi2.ppf(0.999, known.sum() - 1)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_bytes_do_not_depend_on_threads(threads: int) -> None:
    recipe = CASES["mf bpr hardest"][0]
    alone, together = built(recipe, PAIRS), built(recipe, PAIRS)
    rounds = [each for epoch in range(5) for each in stream_of(recipe, PAIRS).epoch(epoch)]
    loss = run_kernel(alone, recipe, "adagrad", rounds)
    assert run_kernel(together, recipe, "adagrad", rounds, threads) == loss
    for one, other in zip(alone.parameters(), together.parameters(), strict=True):
        assert torch.equal(one, other)
