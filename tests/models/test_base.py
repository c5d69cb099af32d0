"""What all methods are built from: the base of recipes with negatives, the registry's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import models
from recsys.config import settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models import NeedsNegatives, Network
from recsys.models.ials import IALS
from recsys.nn.als import ALS
from recsys.nn.losses import Loss
from recsys.sampling import Sampler

COMPARING = [name for name in models.names() if issubclass(models.recipe(name), NeedsNegatives)]


@settings
class Own(NeedsNegatives):
    """A method with a loss of its own."""

    sampler: Sampler = Sampler()

    def build(self, train: Dataset) -> Network:
        raise AssertionError


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_a_method_that_compares_refuses_a_sampler_without_negatives(name, pool):
    with pytest.raises(InputError):
        models.recipe(name)(sampler=Sampler(negatives=0, pool=pool))


def test_who_compares():
    """Every method with a sampler setting compares with what it draws."""
    with_sampler = {
        name for name in models.names() if "sampler" in models.recipe(name).__dataclass_fields__
    }
    # These compare positions of histories, with rules of their own.
    assert set(COMPARING) == with_sampler - {"bert4rec", "gru4rec", "hstu", "sasrec"}
    assert len(COMPARING) == 28


@pytest.mark.parametrize("pool", ["own", "shared"])
def test_no_negatives(pool):
    with pytest.raises(InputError, match="compares with negatives"):
        Own(sampler=Sampler(negatives=0, pool=pool))
    assert Own(sampler=Sampler(negatives=0, pool="in-batch")).loss is None


def test_triplets_have_one_negative():
    triplets = Sampler(negatives=3, unit="triplet")
    with pytest.raises(InputError, match="the loss of this method looks at all of them together"):
        Own(sampler=triplets)
    mf = models.recipe("mf")
    with pytest.raises(InputError, match=r"loss\.reduce = 'hardest' looks at all"):
        mf(sampler=triplets, loss=Loss(reduce="hardest"))
    assert mf(sampler=triplets, loss=Loss(reduce="each")).sampler == triplets


def test_files_with_an_underscore_are_no_methods():
    folder = Path(models.__file__).parent
    private = {path.stem for path in folder.glob("_*.py")}
    assert {"_base", "_registry"} < private
    assert not private & set(models.names())
    assert {path.stem for path in folder.glob("*.py")} - private == set(models.names())


def test_ials_has_the_settings_of_als_with_another_dimension():
    """ALS is the factor model that other methods reproduce; `ials` documents the same settings."""
    theirs, own = ALS.__dataclass_fields__, IALS.__dataclass_fields__
    assert [*theirs, "solver", "cg_steps"] == list(own)
    assert {name for name in theirs if own[name].default != theirs[name].default} == {"dim"}
