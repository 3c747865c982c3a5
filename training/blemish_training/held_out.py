"""Held-out pictures: families that are never drawn for training, and painted photos of products
that are never trained on. Also as folders in MVTec AD's layout, for `blemish eval`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .evaluate import Judged, measure, outputs, table
from .losses import Tokens
from .model import Hybrid, PatchLayers, TrunkLayer
from .pictures.drawing import SIDE
from .pictures.families import FAMILIES, HELD_OUT, TYPES
from .pictures.pairs import make_pair
from .pictures.photos import painted_pair, photo_family
from .stock import photo_files

PRODUCTS, REFERENCES, EACH = 4, 4, 10
"""Products of a family; good pictures to compare with, good and defective ones to judge."""


def seeds(family: str, product: int) -> int:
    """The seed of a held-out product, far from all training seeds."""
    return 50_000_000 + list(FAMILIES).index(family) * 1000 + product


def drawn(family: str, product: int) -> tuple[np.ndarray, Judged]:
    """References [n, side, side, 3] and judged pictures of one product."""
    seed = seeds(family, product)
    shift = product * 100

    def good(first: int, count: int) -> list[np.ndarray]:
        return [make_pair(family, seed, first + i + shift, i).normal for i in range(count)]

    pairs = [
        make_pair(family, seed, 920_000 + i + shift, 77 + i + product * 31) for i in range(EACH)
    ]
    blank = [np.zeros((SIDE, SIDE), np.uint8)] * EACH
    judged = Judged(
        FAMILIES[family].names[0],
        np.stack(good(910_000, EACH) + [pair.anomalous for pair in pairs]),
        np.stack(blank + [pair.mask for pair in pairs]),
        np.array([0] * EACH + [TYPES.index(pair.defect) for pair in pairs]),
    )
    return np.stack(good(900_000, REFERENCES)), judged


def families() -> list[Judged]:
    """All held-out products."""
    return [drawn(family, product)[1] for family in HELD_OUT for product in range(PRODUCTS)]


def photos(root: Path, each: int = 20) -> list[Judged]:
    """Painted photos of held-out folders, one product a folder."""
    _, files = photo_files(root)
    folders = sorted({file.parent for file in files})
    judged = []
    for folder in folders:
        own = sorted(folder.glob("*.jpg"))
        pairs = [painted_pair(own, i % len(own), 7_000 + i // len(own)) for i in range(each)]
        pairs = [pair for pair in pairs if pair is not None]
        blank = [np.zeros((SIDE, SIDE), np.uint8)] * len(pairs)
        judged.append(
            Judged(
                photo_family(folder.name)[1].names[0],
                np.stack([pair.normal for pair in pairs] + [pair.anomalous for pair in pairs]),
                np.stack(blank + [pair.mask for pair in pairs]),
                np.array([0] * len(pairs) + [TYPES.index(pair.defect) for pair in pairs]),
            )
        )
    return judged


@dataclass
class Sets:
    """All held-out pictures."""

    families: list[Judged]
    photos: list[Judged]

    @classmethod
    def draw(cls, root: Path) -> Sets:
        """Draws them. `root`: everyday photos."""
        print("draws the held-out pictures", file=sys.stderr)
        return cls(families(), photos(root))

    def score(self, model: Hybrid, layers: PatchLayers, tokens: Tokens) -> float:
        """The mean of image and pixel AUROC, of one product per family and of some photos."""
        means = measured(model, layers, self.families[::PRODUCTS] + self.photos[::2], tokens)
        return (means["class"] + means["blocks pixel"]) / 2


def measured(
    model: Hybrid,
    layers: PatchLayers,
    judged: list[Judged],
    tokens: Tokens,
    trunk_layer: TrunkLayer | None = None,
) -> dict[str, float]:
    """Means over products."""
    found = [measure(outputs(model, layers, trunk_layer, j, tokens), j) for j in judged]
    return table(found)


def write(folder: Path, judged: Judged, references: np.ndarray | None) -> None:
    """Writes one product in MVTec AD's layout."""

    def save(image: np.ndarray, *parts: str) -> None:
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)

    for i, reference in enumerate(references if references is not None else ()):
        save(reference, "train", "good", f"{i:03}.png")
    rows = zip(judged.pictures, judged.masks, judged.defects, strict=True)
    for i, (picture, mask, defect) in enumerate(rows):
        save(picture, "test", TYPES[defect], f"{i:03}.png")
        if defect:
            save(mask * 255, "ground_truth", TYPES[defect], f"{i:03}_mask.png")


def write_all(root: Path, photo_root: Path | None) -> None:
    """Writes `root/drawn-0` to `drawn-3`, a product of each family in each, and `root/photos`."""
    for product in range(PRODUCTS):
        for family in HELD_OUT:
            references, judged = drawn(family, product)
            write(root / f"drawn-{product}" / family.replace(" ", "_"), judged, references)
        print(f"product {product + 1} of {PRODUCTS} of each family", file=sys.stderr)
    if photo_root is not None:
        for number, judged in enumerate(photos(photo_root)):
            name = f"{judged.name.replace(' ', '_')}_{number}"
            write(root / "photos" / name, judged, None)
