"""Pairs of a normal and an anomalous picture of the same product."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .defects import (
    OBJECT_DEFECTS,
    SURFACE_DEFECTS,
    changed_area,
    paint_defect,
    usable_mask,
)
from .drawing import SIDE, XX, YY, Array, Rng, mix, uniform
from .families import FAMILIES, HELD_OUT, Family
from .harmless import clutter, disturbed


@dataclass(frozen=True)
class Pair:
    """Two pictures of bytes, the mask of the defect as zeros and ones, and the defect's type."""

    normal: Array
    anomalous: Array
    mask: Array
    defect: str


@dataclass(frozen=True)
class Setting:
    """What makes pictures harder without being a defect."""

    clutter: bool = False
    """Objects lie in a cluttered place."""
    disturbed: bool = False
    """There may be shadows, reflections and blur."""


def finish(image: Array, picture: Rng, setting: Setting = Setting()) -> Array:
    """The picture as a camera might take it: uneven light, tint, blur, noise and compression."""
    if setting.disturbed:
        image = disturbed(image, picture)
    if picture.random() < 0.7:
        image = image * _lighting(picture)[..., None].astype(np.float32)
    image = image * uniform(picture, 0.8, 1.15)
    image = image * (1 + 0.04 * picture.standard_normal(3)).astype(np.float32)
    if picture.random() < 0.4:
        image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), uniform(picture, 0.4, 1.1))
    strength = uniform(picture, 0, 0.022)
    channels = 1 if picture.random() < 0.5 else 3
    grain = picture.standard_normal((SIDE, SIDE, channels), dtype=np.float32) * strength
    finished = (np.clip(image + grain, 0, 1) * 255).astype(np.uint8)
    if picture.random() < 0.25:
        quality = int(uniform(picture, 60, 96))
        _, data = cv2.imencode(".jpg", finished, [cv2.IMWRITE_JPEG_QUALITY, quality])
        finished = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return finished


def _lighting(picture: Rng) -> Array:
    """Light that grows in one direction and sometimes fades towards the corners."""
    right = XX - SIDE / 2
    down = YY - SIDE / 2
    angle = uniform(picture, 0, 6.28)
    slope = right * math.cos(angle) + down * math.sin(angle)
    light = 1 + uniform(picture, 0, 0.28) * slope / (SIDE / 2)
    if picture.random() < 0.3:
        light = light * (1 - uniform(picture, 0, 0.3) * (right**2 + down**2) / (SIDE * SIDE / 2))
    return light


def render(
    family: Family,
    product_seed: int,
    picture_seed: int,
    defect: str | None,
    lots: Rng,
    setting: Setting = Setting(),
) -> tuple[Array, Array]:
    """One picture of a product, with a structural defect if one is given, and its foreground."""
    product = np.random.default_rng(product_seed)
    picture = np.random.default_rng(picture_seed)
    if family.texture:
        surface = np.clip(family.draw(product, picture), 0, 1)
        return surface.astype(np.float32), np.ones((SIDE, SIDE), np.float32)
    image, foreground = family.draw(product, picture, defect, lots)
    if setting.clutter:
        # Other generators, so that the object stays as it is.
        seeds = ([product_seed, 1], [product_seed, picture_seed])
        ground = clutter(*map(np.random.default_rng, seeds))
        image = mix(ground, image, foreground)
    return image.astype(np.float32), foreground


def make_pair(
    family: str,
    product_seed: int,
    picture_seed: int,
    defect_seed: int,
    defect: str | None = None,
    setting: Setting = Setting(),
) -> Pair:
    """A picture of a product and the same picture with a defect, chosen at random if not given."""
    kind = FAMILIES[family]
    lots = np.random.default_rng(defect_seed)
    normal, foreground = render(kind, product_seed, picture_seed, None, lots, setting)
    for attempt in range(6):
        chosen = defect or _random_defect(kind, lots)
        if chosen in kind.structural_defects:
            own_lots = np.random.default_rng(defect_seed * 7 + attempt)
            anomalous, _ = render(kind, product_seed, picture_seed, chosen, own_lots, setting)
            mask = changed_area(normal, anomalous)
        else:
            painted = paint_defect(normal, foreground, chosen, lots, kind.texture)
            if painted is None:
                continue
            anomalous, mask = painted
        mask = usable_mask(normal, anomalous, mask, contrast=0.07)
        if mask is not None:
            break
    else:
        # A hole anywhere in the picture always succeeds.
        chosen = "hole"
        everywhere = np.ones_like(foreground)
        anomalous, mask = paint_defect(normal, everywhere, chosen, lots, surface=True)
        mask = (mask > 0.3).astype(np.uint8)
    # Half of the pairs are taken by the same camera in the same light.
    other_seed = picture_seed + 17 if lots.random() < 0.5 else defect_seed + 5
    return Pair(
        finish(normal, np.random.default_rng(picture_seed + 17), setting),
        finish(anomalous, np.random.default_rng(other_seed), setting),
        mask,
        chosen,
    )


def _random_defect(family: Family, lots: Rng) -> str:
    """A type of defect: often a structural one, if the family has any."""
    choices = SURFACE_DEFECTS if family.texture else OBJECT_DEFECTS
    if family.structural_defects and lots.random() < 0.45:
        choices = family.structural_defects
    return choices[lots.integers(len(choices))]


def training_pair(lots: Rng) -> tuple[str, Pair]:
    """A random family that is not held out, and a pair of it in a random setting."""
    families = [name for name in FAMILIES if name not in HELD_OUT]
    family = families[lots.integers(len(families))]
    setting = Setting(clutter=lots.random() < 0.3, disturbed=lots.random() < 0.5)
    seeds = (int(seed) for seed in lots.integers(0, 1 << 30, 3))
    return family, make_pair(family, *seeds, setting=setting)
