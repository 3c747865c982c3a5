"""Measures a model by words on held-out pictures: image and pixel AUROC, and the named defect."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .losses import GRID, Tokens
from .model import Hybrid, PatchLayers, TrunkLayer, normalised
from .pictures.drawing import SIDE
from .pictures.families import TYPES

TRUNK_SHARE = 0.5
"""The weight of the layer on the trunk in a map, as the program has it."""


@dataclass
class Judged:
    """Held-out pictures of one product: bytes, masks, the number of each one's defect (0: good)."""

    name: str
    pictures: np.ndarray
    masks: np.ndarray
    defects: np.ndarray


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve, by ranks; ties count half."""
    values, counts = np.unique(scores, return_counts=True)
    below = np.cumsum(counts) - counts
    ranks = (below + (counts + 1) / 2)[np.searchsorted(values, scores)]
    positives = int(positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return float("nan")
    above = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def enlarged(maps: Tensor) -> np.ndarray:
    """[n, grid^2] to smoothed maps of the picture's size."""
    side = round(maps.shape[1] ** 0.5)
    grid = maps.view(-1, 1, side, side)
    large = (
        F.interpolate(grid, (SIDE, SIDE), mode="bilinear", align_corners=True)[:, 0].cpu().numpy()
    )
    return np.stack([cv2.GaussianBlur(m, (0, 0), 4) for m in large])


def text_ensembles(model: Hybrid, name: str, tokens: Tokens) -> Tensor:
    """Normal and anomalous direction of a name, [2, embedding]."""
    full = words.full_ensemble(name)
    end = model.config["text_config"]["eos_token_id"]
    means = [
        F.normalize(model.text(tokens(texts, end), torch.float32).mean(0), dim=-1)
        for texts in (full.normal, full.anomalous)
    ]
    return torch.stack(means)


def type_directions(model: Hybrid, name: str, tokens: Tokens) -> Tensor:
    """The direction of each defect type, [types - 1, embedding]."""
    end = model.config["text_config"]["eos_token_id"]
    rows = []
    for defect in TYPES[1:]:
        texts = [f"a photo of a {phrase.format(name)}." for phrase in words.DEFECTS[defect]]
        rows.append(F.normalize(model.text(tokens(texts, end), torch.float32).mean(0), dim=-1))
    return torch.stack(rows)


@dataclass
class Outputs:
    """What scores are made of: image logits [n], a map per layer [n, grid^2], type logits."""

    image: Tensor
    maps: dict[str, Tensor]
    types: Tensor


@torch.no_grad()
def outputs(
    model: Hybrid,
    layers: PatchLayers | None,
    trunk_layer: TrunkLayer | None,
    judged: Judged,
    tokens: Tokens,
) -> Outputs:
    """Runs the model over the pictures of one product."""
    text = text_ensembles(model, judged.name, tokens)
    types = type_directions(model, judged.name, tokens)
    scale = model.factor()
    image, kinds, maps = [], [], {}
    for start in range(0, len(judged.pictures), 20):
        pixels = normalised(judged.pictures[start : start + 20])
        features = model.trunk.features(pixels)
        vision = model.vision_model
        embedded = vision.embeddings(pixels, features, torch.float32)
        blocks = model.blocks(vision.pre_layrnorm(embedded))
        embedding = model.image(blocks[-1])
        image.append(scale * embedding @ (text[1] - text[0]))
        kinds.append(scale * embedding @ types.t())
        found = {}
        if layers is not None:
            found["blocks"] = torch.stack(
                [torch.sigmoid(scale * rows @ (text[1] - text[0])) for rows in layers(blocks)]
            ).mean(0)
        if trunk_layer is not None:
            rows = trunk_layer(model.trunk.fine_features(pixels))
            found["trunk"] = torch.sigmoid(scale * rows @ (text[1] - text[0]))
        for name, values in found.items():
            maps.setdefault(name, []).append(values)
    return Outputs(
        torch.cat(image), {name: torch.cat(v) for name, v in maps.items()}, torch.cat(kinds)
    )


def joined(found: Outputs) -> np.ndarray:
    """The adapter's maps on the fine grid, as the program joins its layers, [n, side, side]."""
    side = round(found.maps["trunk"].shape[1] ** 0.5)
    blocks = found.maps["blocks"].view(-1, 1, GRID, GRID)
    blocks = F.interpolate(blocks, (side, side), mode="bilinear", align_corners=False)[:, 0]
    trunk = found.maps["trunk"].view(-1, side, side)
    return (TRUNK_SHARE * trunk + (1 - TRUNK_SHARE) * blocks).cpu().numpy()


def top_share(maps: np.ndarray, share: float = 0.01) -> np.ndarray:
    """The mean of the highest values of each map."""
    flat = maps.reshape(len(maps), -1)
    count = max(1, int(flat.shape[1] * share))
    return np.partition(flat, -count, axis=1)[:, -count:].mean(1)


def measure(found: Outputs, judged: Judged) -> dict[str, float]:
    """AUROCs of one product by several rules, and the share of defects named rightly."""
    bad = judged.defects > 0
    image = found.image.cpu().numpy()
    result = {"class": auroc(image, bad)}
    for name, maps in found.maps.items():
        large = enlarged(maps)
        result[f"{name} max"] = auroc(large.reshape(len(large), -1).max(1), bad)
        result[f"{name} top"] = auroc(top_share(large), bad)
        odds = np.log(top_share(large) / (1 - top_share(large)))
        result[f"{name} top + class"] = auroc(image + odds, bad)
        result[f"{name} pixel"] = auroc(large.reshape(-1), judged.masks.reshape(-1) > 0)
    if bad.any():
        right = found.types.cpu()[bad].argmax(1).numpy() + 1 == judged.defects[bad]
        result["named"] = float(right.mean())
    return result


def table(results: list[dict[str, float]]) -> dict[str, float]:
    """Means over products."""
    return {k: float(np.nanmean([r[k] for r in results if k in r])) for k in results[0]}


assert SIDE % GRID == 0
