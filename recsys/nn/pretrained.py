"""Vectors of texts and images by networks the user has: nothing is downloaded, weights are read from where they are said to be.

A sentence encoder is a folder of sentence-transformers (pip install 'recsys[sentences]'), an image backbone one of timm with its weights as
safetensors (pip install 'recsys[images]'). Weights that are pickles are turned down, for a pickle is a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.errors import InputError

__all__ = ["image_vectors", "images_of", "sentence_vectors"]

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


def sentence_vectors(
    texts: Sequence[str | None], folder: str | Path, *, batch: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of texts by a sentence encoder in a folder.

    Args:
        texts: one per item, None where there is none.
        folder: as `SentenceTransformer.save` writes it.
        batch: texts at a time.

    Returns:
        vectors float32 [n, d], zeros where there is no text, and where there is one, bool [n].

    Raises:
        InputError: the folder is not there or no encoder, the package is not installed, or no item has a text.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "no such folder",
            place=str(folder),
            remedy="give the folder of a sentence encoder; none is downloaded",
        )
    said = np.array([text is not None for text in texts], dtype=bool)
    if not said.any():
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
            f"is no sentence encoder: {_said(error)}",
            place=str(folder),
            remedy="save one there with safetensors",
        ) from None
    made = np.asarray(
        encoder.encode(
            [text for text in texts if text is not None], batch_size=batch, show_progress_bar=False
        ),
        dtype=np.float32,
    )
    vectors = np.zeros((len(texts), made.shape[1]), dtype=np.float32)
    vectors[said] = made
    return vectors, said


def images_of(folder: str | Path, ids: Sequence[Any]) -> list[Path | None]:
    """The image of every item in a folder of files called after the ids, None where there is none.

    Raises:
        InputError: no such folder, or it has an image of no item, or several of one.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "no such folder", place=str(folder), remedy="give the folder of the images"
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _IMAGES:
            if path.stem in found:
                cause = f"item {path.stem} has two images: {found[path.stem].name} and {path.name}"
                raise InputError(cause, place=str(folder), remedy="leave one")
            found[path.stem] = path
    chosen = [found.get(str(one)) for one in ids]
    if not any(chosen):
        raise InputError(
            f"holds {len(found)} images, none of them of an item",
            place=str(folder),
            remedy="call each after its item: ID.jpg",
        )
    return chosen


@torch.no_grad()
def image_vectors(
    files: Sequence[Path | None], backbone: str, weights: str | Path, *, batch: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of images by a backbone of timm, what its last pooling gives, as it prepares images itself.

    Args:
        files: one per item, None where there is none.
        backbone: as timm calls it, such as "resnet50".
        weights: its weights, a .safetensors file.
        batch: images at a time.

    Returns:
        vectors float32 [n, d], zeros where there is no image, and where there is one, bool [n].

    Raises:
        InputError: the package is not installed, there is no such backbone, weights that are not its own, or an image cannot be read.
    """
    weights = Path(weights).expanduser()
    if weights.suffix != ".safetensors" or not weights.is_file():
        cause = "no such file" if weights.suffix == ".safetensors" else "is no .safetensors file"
        raise InputError(
            cause,
            place=str(weights),
            remedy="give the weights of the backbone as safetensors; none are downloaded",
        )
    try:
        import timm
        from PIL import Image, UnidentifiedImageError
    except (
        ImportError,
        RuntimeError,
    ) as error:  # the latter, where torch and torchvision are not of one release
        raise InputError(
            f"image vectors need timm: {_said(error)}", remedy="pip install 'recsys[images]'"
        ) from None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not timm.is_model(backbone):
        near = ", ".join(timm.list_models(f"*{backbone}*")[:4])
        raise InputError(
            f"timm has no backbone '{backbone}'",
            place="--backbone",
            remedy=f"did you mean {near}?" if near else "see timm.list_models()",
        )
    network = timm.create_model(backbone, pretrained=False, num_classes=0).eval()
    try:
        state, wanted = load_file(str(weights)), network.state_dict()
        network.load_state_dict(
            {
                name: value
                for name, value in state.items()
                if name in wanted or not name.startswith(_head(network))
            }
        )
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(
            f"are no weights of {backbone}: {_said(error)}",
            place=str(weights),
            remedy="give those of this backbone",
        ) from None
    prepare = timm.data.create_transform(
        **timm.data.resolve_data_config({}, model=network), is_training=False
    )
    known = [at for at, path in enumerate(files) if path is not None]
    made = []
    for start in range(0, len(known), batch):
        images = []
        for at in known[start : start + batch]:
            path = files[at]
            assert path is not None
            try:
                with Image.open(path) as image:
                    images.append(prepare(image.convert("RGB")))
            except (OSError, UnidentifiedImageError) as error:
                raise InputError(
                    f"cannot be read as an image: {_said(error)}",
                    place=str(path),
                    remedy="leave it out, or write it again",
                ) from None
        made.append(network(torch.stack(images)).float().numpy())
    vectors = np.zeros((len(files), made[0].shape[1]), dtype=np.float32)
    vectors[known] = np.concatenate(made)
    return vectors, np.array([path is not None for path in files], dtype=bool)


def _head(network: Any) -> tuple[str, ...]:
    """Beginnings of the names of a classifier, which full weights have and vectors do without."""
    named = network.default_cfg.get("classifier", "fc")
    return (named,) if isinstance(named, str) else tuple(named)


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
