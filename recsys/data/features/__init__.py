"""Features: tables of item attributes and vectors, aligned with the items of a data set.

    tables          Feature tables of a data set.
    attribute_table    Sparse tables of attributes, and how a row becomes one.
    attribute_columns  Kinds and values of the columns of attributes.
    attribute_files    Attributes from files.
    relation_files     Relations from files.
    frames          Vectors from Parquet, frames and pairs of ids and an array.
    arrays          Vectors from NumPy files.
    new_items       Features of items that come after training.
    item_files      Item tables in files.
    titles          Titles of items.
    text_vectors    Vectors of texts, fitted to an item table.
    column_vectors  Vectors of numbers and categories, fitted to an item table.
    encoder         The encoder that made a feature table.
    table_file      Feature tables that are written to disk.
    validation      Checks of ids and of vectors.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.data.features.attribute_table import AttributeEncoding, AttributeTable
from recsys.data.features.column_vectors import ColumnVectorizer, fit_columns
from recsys.data.features.encoder import (
    PATH_OPTIONS,
    Encoder,
    encoder_of,
    read_encoder,
    sha256_of_files,
)
from recsys.data.features.item_files import ItemTable
from recsys.data.features.new_items import read_new_items
from recsys.data.features.table_file import write_features
from recsys.data.features.tables import feature_table, feature_tables
from recsys.data.features.text_vectors import TextVectorizer, fit_texts, joined_texts
from recsys.data.features.titles import read_titles

__all__ = [
    "PATH_OPTIONS",
    "AttributeEncoding",
    "AttributeTable",
    "ColumnVectorizer",
    "Encoder",
    "ItemTable",
    "TextVectorizer",
    "encoder_of",
    "feature_table",
    "feature_tables",
    "fit_columns",
    "fit_texts",
    "joined_texts",
    "read_encoder",
    "read_new_items",
    "read_titles",
    "sha256_of_files",
    "write_features",
]
