"""Pairs of a real photo and the same photo with a painted defect.

The photos lie in one folder for each product, whose name says what family it belongs to.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .defects import (
    SURFACE_DEFECTS,
    blob,
    blurred,
    paint_defect,
    pick_place,
    random_size,
    usable_mask,
)
from .drawing import SIDE, XX, YY, Array, Rng, fractal_noise, mix, uniform
from .families import Family
from .pairs import Pair, finish

# What to call a product, by the last word of its folder's name. Others are called by that word.
NAMES = {
    "soyghurt": ("yoghurt pot", "yoghurt"),
    "yoghurt": ("yoghurt pot", "yoghurt"),
    "oatghurt": ("yoghurt pot", "oat yoghurt"),
    "milk": ("milk carton", "carton"),
    "cream": ("cream carton", "carton"),
    "juice": ("juice carton", "carton"),
    "nectar": ("juice carton",),
    "pear": ("pear", "fruit"),
    "apple": ("apple", "fruit"),
    "melon": ("melon", "fruit"),
    "pepper": ("pepper", "vegetable"),
    "potato": ("potato", "vegetable"),
    "tomato": ("tomato", "vegetable"),
    "onion": ("onion", "vegetable"),
}

# Folders whose name does not end in the kind of product.
KINDS = {
    "anjou": "pear",
    "kaiser": "pear",
    "conference": "pear",
    "granny smith": "apple",
    "golden delicious": "apple",
    "pink lady": "apple",
    "royal gala": "apple",
    "red delicious": "apple",
    "cantaloupe": "melon",
    "watermelon": "melon",
    "tropicana mandarin morning": "juice",
    "tropicana juice smooth": "juice",
    "tropicana golden grapefruit": "juice",
}


def photo_files(root: Path) -> list[Path]:
    """All photos, in an order that does not depend on the computer."""
    return sorted(root.glob("*/*.jpg"), key=str)


def photo_family(folder: str) -> tuple[str, Family]:
    """The family of the photos in the folder of this name, and what the family is called."""
    kind = KINDS.get(folder, folder.split()[-1])
    return f"photo {kind}", Family(None, NAMES.get(kind, (kind,)), texture=True)


def painted_pair(files: Sequence[Path], index: int, number: int) -> Pair | None:
    """The pair of this number of one photo, or None if eight attempts show no clear defect.

    Some defects are pieces of other photos out of `files`.
    """
    lots = np.random.default_rng(1_000_003 * index + number)
    normal = load_photo(files[index], lots)
    foreground = np.ones((SIDE, SIDE), np.float32)
    if lots.random() < 0.7:
        foreground = _ellipse(lots)
    for _ in range(8):
        if lots.random() < 0.25:
            other = load_photo(files[lots.integers(len(files))], lots)
            anomalous, mask = _inserted(normal, other, foreground, lots)
            defect = "patch" if lots.random() < 0.5 else "contamination"
        else:
            defect = SURFACE_DEFECTS[lots.integers(len(SURFACE_DEFECTS))]
            anomalous, mask = paint_defect(normal, foreground, defect, lots, surface=True)
        mask = usable_mask(normal, anomalous, mask, contrast=0.1)
        if mask is not None:
            break
    else:
        return None
    seed = index * 31 + number
    other_seed = seed if lots.random() < 0.6 else index * 37 + number + 5
    return Pair(
        finish(normal, np.random.default_rng(seed)),
        finish(anomalous, np.random.default_rng(other_seed)),
        mask,
        defect,
    )


def load_photo(file: Path, lots: Rng) -> Array:
    """The whole photo, squeezed into a square, or more often a random square part of it."""
    photo = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    height, width = photo.shape[:2]
    method = cv2.INTER_AREA
    if lots.random() >= 0.3:
        side = int(min(height, width) * uniform(lots, 0.55, 1))
        top = lots.integers(0, height - side + 1)
        left = lots.integers(0, width - side + 1)
        photo = photo[top : top + side, left : left + side]
        if side <= SIDE:
            method = cv2.INTER_CUBIC
    return cv2.resize(photo, (SIDE, SIDE), interpolation=method).astype(np.float32) / 255


def _ellipse(lots: Rng) -> Array:
    """An ellipse near the centre, where the product is likely to be."""
    across = (XX - SIDE / 2 - uniform(lots, -20, 20)) / uniform(lots, 60, 110)
    down = (YY - SIDE / 2 - uniform(lots, -20, 20)) / uniform(lots, 60, 110)
    return (across**2 + down**2 < 1).astype(np.float32)


def _inserted(normal: Array, other: Array, foreground: Array, lots: Rng) -> tuple[Array, Array]:
    """The photo with irregular pieces or one spot of another photo, and their mask."""
    hills = fractal_noise(lots, (60, 25, 10), 0.7)
    mask = (hills > uniform(lots, 1.0, 1.7)).astype(np.float32) * foreground
    if mask.mean() > 0.25 or mask.sum() < 60:
        x, y = pick_place(foreground, lots)
        mask = blob(lots, x, y, random_size(lots, 8, 40), 0.5) * foreground
    strength = uniform(lots, 0.4, 1)
    soft = blurred(mask, uniform(lots, 0.5, 1.5))
    return mix(normal, other, soft * strength), mask
