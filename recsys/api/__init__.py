"""The words of the command line for Python: load, split, fit, evaluate, compare, recommend.

    import recsys

    parts = recsys.split(recsys.load("online-retail"), by="ratio", seed=0)
    fitted = recsys.fit(recsys.recipe("mf", dim=64), parts.train, parts.valid, epochs=20)
    print(recsys.evaluate(fitted.scorer, parts, reason="final table").table())
    print(recsys.recommend(fitted.scorer, parts.train, users=[12347], k=10))

Frames come back as polars; `recommend` answers pandas users with a pandas frame.

    functions  The functions.
    options    Types of their keyword arguments, one class per section of an experiment.
    compared   The rows of a comparison: runs, folders and reports.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.api.functions import compare, evaluate, fit, load, recipe, recommend, split

__all__ = ["compare", "evaluate", "fit", "load", "recipe", "recommend", "split"]
