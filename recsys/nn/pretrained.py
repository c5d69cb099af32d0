"""Vectors of texts and images from pretrained networks that the user has on disk.

Nothing is downloaded. A sentence encoder is a folder of sentence-transformers
(pip install 'recsys[sentences]'); an image backbone is one of timm with its weights as safetensors
(pip install 'recsys[images]'). Pickled weights are refused, because a pickle is a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.errors import InputError, first_line

__all__ = ["image_vectors", "images_of", "sentence_vectors"]

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


def sentence_vectors(
    texts: Sequence[str | None], folder: str | Path, *, batch: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Encode texts with a sentence encoder.

    Args:
        texts: one per item, None for an item without text.
        folder: folder written by `SentenceTransformer.save`.
        batch: texts per batch.

    Returns:
        Vectors float32 [n, d], zeros for an item without text, and bool [n], items with a text.

    Raises:
        InputError: the folder is missing or holds no encoder, the package is not installed, or no
        item
            has a text.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "no such folder",
            place=str(folder),
            remedy="give the folder of a sentence encoder; nothing is downloaded",
        )
    has_text = np.array([text is not None for text in texts], dtype=bool)
    if not has_text.any():
        raise InputError(
            "no item has a text", place="--text", remedy="name columns that hold texts"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError(
            "a sentence encoder needs sentence-transformers",
            remedy="pip install 'recsys[sentences]'",
        ) from None
    try:
        encoder = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"cannot be loaded as a sentence encoder: {_reason(error)}",
            place=str(folder),
            remedy="save the encoder there with safetensors",
        ) from None
    encoded = np.asarray(
        encoder.encode(
            [text for text in texts if text is not None], batch_size=batch, show_progress_bar=False
        ),
        dtype=np.float32,
    )
    vectors = np.zeros((len(texts), encoded.shape[1]), dtype=np.float32)
    vectors[has_text] = encoded
    return vectors, has_text


def images_of(folder: str | Path, ids: Sequence[Any]) -> list[Path | None]:
    """Return the image file of every item from a folder of files named by item id, or None.

    Raises:
        InputError: the folder is missing, holds no image of an item, or several of one item.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "no such folder", place=str(folder), remedy="give the folder of the images"
        )
    by_id: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _IMAGES:
            if path.stem in by_id:
                cause = f"item {path.stem} has two images: {by_id[path.stem].name} and {path.name}"
                raise InputError(cause, place=str(folder), remedy="keep one of them")
            by_id[path.stem] = path
    chosen = [by_id.get(str(item)) for item in ids]
    if not any(chosen):
        raise InputError(
            f"holds {len(by_id)} images, but none is named after an item",
            place=str(folder),
            remedy="name each image after its item: ID.jpg",
        )
    return chosen


@torch.no_grad()
def image_vectors(
    files: Sequence[Path | None], backbone: str, weights: str | Path, *, batch: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Encode images with a timm backbone: its pooled features, after its own preprocessing.

    Args:
        files: one per item, None for an item without image.
        backbone: name in timm, such as "resnet50".
        weights: weights of the backbone, a .safetensors file.
        batch: images per batch.

    Returns:
        Vectors float32 [n, d], zeros for an item without image, and bool [n], items with an image.

    Raises:
        InputError: timm is not installed, the backbone is unknown, the weights do not fit it, or an
            image cannot be read.
    """
    weights = Path(weights).expanduser()
    if weights.suffix != ".safetensors" or not weights.is_file():
        is_safetensors = weights.suffix == ".safetensors"
        cause = "no such file" if is_safetensors else "expected a .safetensors file"
        raise InputError(
            cause,
            place=str(weights),
            remedy="give the weights of the backbone as safetensors; nothing is downloaded",
        )
    try:
        import timm
        from PIL import Image, UnidentifiedImageError
    except (ImportError, RuntimeError) as error:  # RuntimeError: torch and torchvision differ
        raise InputError(
            f"image vectors need timm: {_reason(error)}", remedy="pip install 'recsys[images]'"
        ) from None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not timm.is_model(backbone):
        close = ", ".join(timm.list_models(f"*{backbone}*")[:4])
        raise InputError(
            f"timm has no backbone '{backbone}'",
            place="--backbone",
            remedy=f"did you mean {close}?" if close else "see timm.list_models()",
        )
    network = timm.create_model(backbone, pretrained=False, num_classes=0).eval()
    try:
        state, expected = load_file(str(weights)), network.state_dict()
        network.load_state_dict(
            {
                name: value
                for name, value in state.items()
                if name in expected or not name.startswith(_head(network))
            }
        )
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(
            f"cannot be loaded as weights of {backbone}: {_reason(error)}",
            place=str(weights),
            remedy="give the weights of this backbone",
        ) from None
    prepare = timm.data.create_transform(
        **timm.data.resolve_data_config({}, model=network), is_training=False
    )
    known = [index for index, path in enumerate(files) if path is not None]
    batches = []
    for start in range(0, len(known), batch):
        images = []
        for index in known[start : start + batch]:
            path = files[index]
            assert path is not None
            try:
                with Image.open(path) as image:
                    images.append(prepare(image.convert("RGB")))
            except (OSError, UnidentifiedImageError) as error:
                raise InputError(
                    f"cannot be read as an image: {_reason(error)}",
                    place=str(path),
                    remedy="remove the file or save it again",
                ) from None
        batches.append(network(torch.stack(images)).float().numpy())
    vectors = np.zeros((len(files), batches[0].shape[1]), dtype=np.float32)
    vectors[known] = np.concatenate(batches)
    return vectors, np.array([path is not None for path in files], dtype=bool)


def _head(network: Any) -> tuple[str, ...]:
    """Return the name prefixes of the classifier, which is not needed for vectors."""
    named = network.default_cfg.get("classifier", "fc")
    return (named,) if isinstance(named, str) else tuple(named)


def _reason(error: Exception) -> str:
    return first_line(error)[:160]
