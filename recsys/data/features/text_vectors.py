"""Vectors of texts: latent semantic analysis of the texts of an item table.

Only attributes of items are used, never interactions, so the vectors can be computed before the
data are split. Needs scikit-learn: pip install 'recsys[features]'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.data.features.encoder import Encoder
from recsys.data.features.item_files import require_columns
from recsys.errors import InputError

__all__ = ["TextVectorizer", "fit_texts", "joined_texts"]

_MIN_ITEMS = 2  # a term of a single item relates it to no other
_SMALL = 1e-6  # length below which a vector counts as zero


def joined_texts(
    frame: pl.DataFrame, columns: Sequence[str], place: str = "item table"
) -> list[str | None]:
    """Return the texts of some columns, joined by blanks.

    Args:
        frame: a row per item.
        columns: that hold the texts.
        place: what to call the table in an error.

    Returns:
        A text per item, [n]; None if all columns are missing or blank.

    Raises:
        InputError: a column does not exist, or does not hold text.
    """
    require_columns(frame, columns, place)
    for name in columns:
        if isinstance(frame[name].dtype, pl.List | pl.Array | pl.Struct | pl.Object):
            raise InputError(
                f"'{name}' holds {frame[name].dtype}, not text",
                place=place,
                remedy="join it into one text per item",
            )
    stripped = [pl.col(name).cast(pl.String).str.strip_chars() for name in columns]
    joined = frame.select(pl.concat_str(stripped, separator=" ", ignore_nulls=True)).to_series()
    return [text if text and text.strip() else None for text in joined]


@dataclass(frozen=True, eq=False)
class TextVectorizer:
    """Fitted latent semantic analysis: TF-IDF, a truncated SVD, and rows of length 1.

    Args:
        words: whether terms are words and pairs of words, rather than groups of letters.
        terms: the counted terms [t].
        idf: weight of each term, float64 [t].
        components: float32 [dim, t].
    """

    words: bool
    terms: Sequence[str]
    idf: np.ndarray
    components: np.ndarray

    @classmethod
    def of(cls, encoder: Encoder) -> TextVectorizer:
        """Return the vectorizer that an encoder stores."""
        return cls(
            words=encoder.options.get("words", False),
            terms=encoder.fitted["terms"],
            idf=encoder.arrays["idf"],
            components=encoder.arrays["components"],
        )

    def encoder(self, options: Mapping[str, Any]) -> Encoder:
        """Return the encoder to store, made with the options of `recsys data features`."""
        arrays = {"idf": self.idf, "components": self.components}
        return Encoder(options, {"terms": list(self.terms)}, arrays)

    def vectors(self, texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of texts.

        Args:
            texts: one per item, None if an item has no text, [n].

        Returns:
            Vectors float32 [n, dim], zeros if an item has none; and whether an item has one, bool
            [n]. A text without any of the terms has no vector.
        """
        if not texts:
            return _unit(np.empty((0, len(self.components))))
        counter = _counter(words=self.words, vocabulary=list(self.terms))
        counter.idf_ = self.idf
        weights = counter.transform([text or "" for text in texts])
        return _unit(weights @ self.components.T.astype(np.float64))


def fit_texts(
    texts: Sequence[str | None], dim: int = 128, *, words: bool = False
) -> tuple[TextVectorizer, np.ndarray, np.ndarray]:
    """Fit latent semantic analysis to texts: TF-IDF, a truncated SVD, and rows of length 1.

    Source: Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990. The terms are
    groups of 3 to 5 letters inside words, which match plurals and misspellings. A term counts
    1 + log of its occurrences, and must occur in at least two items. The same texts give the same
    vectors: the SVD is exact (ARPACK, from a fixed start), and the largest entry of each column is
    made positive.

    Args:
        texts: one per item, None if an item has no text, [n].
        dim: length of a vector.
        words: terms are words and pairs of words, rather than groups of letters.

    Returns:
        The vectorizer for other texts; vectors float32 [n, dim], zeros if an item has none; and
        whether an item has one, bool [n]. A text that shares no term with another has no vector.

    Raises:
        InputError: scikit-learn is not installed, fewer than two items have a text, or `dim` is
            more than texts and terms allow.
    """
    counter = _counter(words=words)
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    has_text = np.array([text is not None for text in texts], dtype=bool)
    weights = _weights(counter, [text for text in texts if text is not None], len(texts))
    if not 0 < dim < min(weights.shape):
        most = min(weights.shape) - 1
        raise InputError(
            f"{dim} numbers of {weights.shape[0]} texts with {weights.shape[1]} terms",
            place="--dim",
            remedy=f"ask for {most} or fewer" if most > 0 else "give more texts",
        )
    svd = TruncatedSVD(dim, algorithm="arpack", random_state=0)
    with threadpool_limits(1):  # the order of a sum decides its last bits
        values = svd.fit_transform(weights)
    largest = values[np.abs(values).argmax(axis=0), np.arange(dim)]
    sign = np.where(largest < 0, -1.0, 1.0)
    vectors = np.zeros((len(texts), dim), dtype=np.float32)
    present = has_text.copy()
    vectors[has_text], present[has_text] = _unit(values * sign)
    components = (svd.components_ * sign[:, None]).astype(np.float32)
    terms = counter.get_feature_names_out().tolist()
    return TextVectorizer(words, terms, counter.idf_, components), vectors, present


def _weights(counter: Any, texts: list[str], n_items: int) -> Any:
    """Fit the counter and return the TF-IDF weights, a sparse matrix [texts, terms].

    Raises:
        InputError: fewer than two texts, or no term in two of them.
    """
    if len(texts) < 2:
        raise InputError(
            f"{len(texts)} of {n_items} items have a text",
            place="--text",
            remedy="name columns that hold texts",
        )
    try:
        return counter.fit_transform(texts)
    except ValueError:
        raise InputError(
            "no term occurs in two items", place="--text", remedy="name columns with longer texts"
        ) from None


def _counter(*, words: bool, vocabulary: list[str] | None = None) -> Any:
    """Return scikit-learn's counter of terms.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        import sklearn.decomposition  # noqa: F401 - fail before anything is computed
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise InputError(
            "text vectors need scikit-learn", remedy="pip install 'recsys[features]'"
        ) from None
    analyzer, groups = ("word", (1, 2)) if words else ("char_wb", (3, 5))
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=groups,
        min_df=_MIN_ITEMS,
        sublinear_tf=True,
        vocabulary=vocabulary,
    )


def _unit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale rows float64 [n, d] to length 1.

    Returns:
        Rows float32 [n, d], zeros if a row is too short; and whether it is long enough, bool [n].
    """
    length = np.linalg.norm(values, axis=1, keepdims=True)
    known = length[:, 0] > _SMALL
    vectors = np.zeros(values.shape, dtype=np.float32)
    vectors[known] = values[known] / length[known]
    return vectors, known
