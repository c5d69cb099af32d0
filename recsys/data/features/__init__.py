"""Features: tables of item attributes and vectors, aligned with the items of a data set.

    tables     Feature tables and titles from files, frames and arrays.
    encoder    The encoder that made a feature table.
    new_items  Features of items that come after training.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.features.encoder import Encoder, encoder_of
from recsys.data.features.new_items import arrivals
from recsys.data.features.tables import Texts, feature_table, feature_tables

__all__ = ["Encoder", "Texts", "arrivals", "encoder_of", "feature_table", "feature_tables"]
