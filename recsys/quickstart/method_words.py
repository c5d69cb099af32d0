"""Names of the methods, without importing torch.

A method is a file of `recsys/models`, or an entry point `recsys.models` of another package.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

from recsys import plugins
from recsys.errors import InputError, suggest

__all__ = ["ALIASES", "canonical", "method_names"]

# Names that other libraries use for a method, and the name of its file here.
ALIASES = {
    "bpr": "mf",
    "bpr_mf": "mf",
    "bprmf": "mf",
    "matrix_factorization": "mf",
    "pop": "popular",
    "popularity": "popular",
    "mostpop": "popular",
    "als": "ials",
    "wmf": "ials",
    "implicit_als": "ials",
    "item_knn": "itemknn",
    "user_knn": "userknn",
    "knn": "itemknn",
    "ease_r": "ease",
    "gf_cf": "gfcf",
    "light_gcn": "lightgcn",
    "unis": "cml",
    "pops": "cml",
    "hars": "cml",
    "2sts": "cml",
    "sf_cml": "sfcml",
    "cocml": "dpcml",
    "harcml": "dpcml",
    "dpcml1": "dpcml",
    "dpcml2": "dpcml",
    "gfja": "dpcml",
    "mgmf": "m2f",
    "ncf": "neumf",
    "neural_mf": "neumf",
    "multivae": "multvae",
    "mult_vae": "multvae",
    "vae_cf": "multvae",
    "direct_au": "directau",
    "ultra_gcn": "ultragcn",
    "clc": "clcrec",
    "dropout_net": "dropoutnet",
    "content_knn": "contentknn",
    "content": "contentknn",
    "markov_chain": "markov",
    "sequential_rules": "markov",
    "vsknn": "sknn",
    "stan": "sknn",
    "session_knn": "sknn",
    "ensemble": "blend",
    "hybrid": "blend",
    "switching": "fallback",
}


def method_names() -> list[str]:
    """Return the names of all methods in alphabetical order, without importing any of them."""
    files = pkgutil.iter_modules([str(Path(__file__).parents[1] / "models")])
    own = [module.name for module in files if not module.name.startswith("_")]
    return sorted({*own, *plugins.names("models")})


def canonical(name: str) -> str:
    """Return the name of a method as it is written here: `LightGCN`, `Item-KNN`, `mult_vae`.

    Upper and lower case, dashes, underscores and blanks make no difference.

    Raises:
        InputError: the method is unknown; the message suggests the nearest name.
    """
    names = method_names()
    if name in names:
        return name
    by_letters = {_letters(known): known for known in names}
    if _letters(name) in by_letters:
        return by_letters[_letters(name)]
    raise InputError(f"unknown method '{name}'", remedy=suggest(name, names, ALIASES))


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
