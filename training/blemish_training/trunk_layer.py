"""Trains the adapter's layer on the trunk, against frozen words."""

from __future__ import annotations

import math
import sys
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .augment import augmented, coverage
from .losses import Tokens, dense_loss
from .model import Hybrid, TrunkLayer, normalised, on_device
from .pictures.families import FAMILIES
from .stock import Stock, names

HIDDEN = 128
SIZES = {240: (48, 0.7), 320: (27, 0.2), 480: (12, 0.1)}
"""Input sizes: pictures in a batch, and the share of batches."""


def ensembles(
    model: Hybrid, families: list[str], tokens: Tokens, lots: np.random.Generator
) -> Tensor:
    """The normal and the anomalous direction for each picture, [n, 2, embedding]: by its own name,
    a generic or a made-up one."""
    end, few = model.config["text_config"]["eos_token_id"], {}

    def directions(name: str) -> Tensor:
        texts = words.ensemble(name, lots)
        sides = (model.text(tokens(t, end), torch.float32) for t in (texts.normal, texts.anomalous))
        return torch.stack([F.normalize(side.mean(0), dim=-1) for side in sides])

    others = [directions(words.any_name(lots)) for _ in range(4)]
    rows = []
    for family in families:
        if lots.random() < 0.5:
            rows.append(others[lots.integers(len(others))])
            continue
        if family not in few:
            few[family] = directions(words.choose(lots, names(family)))
        rows.append(few[family])
    return torch.stack(rows)


def batch(
    stock: Stock, drawn: np.ndarray, size: int, count: int, lots: np.random.Generator
) -> tuple[Tensor, Tensor, list[str]]:
    """Pictures, the defective share of each place of the fine grid, and the families."""
    pictures, covered, families = [], [], []
    for pair in lots.choice(drawn, count):
        picture, mask = augmented(*stock.picture(int(pair), lots.random() < 0.6), lots)
        if size != picture.shape[0]:
            picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
            mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
        pictures.append(picture)
        covered.append(coverage(mask, size // 8).reshape(-1))
        families.append(stock.families[pair])
    return normalised(np.stack(pictures)), on_device(np.stack(covered)), families


def train_trunk_layer(
    model: Hybrid, stock: Stock, tokens: Tokens, steps: int, seed: int
) -> TrunkLayer:
    """A new layer. Only drawn pictures teach it: cluttered photos cost image scores."""
    torch.manual_seed(seed)
    channels = sum(
        model.config["vision_config"]["trunk"]["blocks"][tap - 1]["output"]
        for tap in model.config["vision_config"]["trunk"]["taps"]
    )
    layer = TrunkLayer(channels, HIDDEN, model.config["projection_dim"])
    optimiser = torch.optim.AdamW(layer.parameters(), 1e-3, weight_decay=0.05)
    drawn = np.array([i for i, family in enumerate(stock.families) if family in FAMILIES])
    sizes, shares = list(SIZES), [share for _, share in SIZES.values()]
    started, losses = time.monotonic(), []
    for step in range(steps):
        lots = np.random.default_rng([seed, 3, step])
        size = int(lots.choice(sizes, p=shares))
        pixels, covered, families = batch(stock, drawn, size, SIZES[size][0], lots)
        with torch.no_grad():
            features = model.trunk.fine_features(pixels, torch.bfloat16)
            texts = ensembles(model, families, tokens, lots)
            scale = model.factor()
        loss = dense_loss(layer(features), texts, covered, scale)
        rate = 1e-3 * min(1, (step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.475 * (1 + math.cos(math.pi * step / steps)) + 0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - started) / (step + 1) * (steps - step - 1)
            print(
                f"layer on the trunk: step {step + 1}/{steps}, {left:.0f} s left, "
                f"loss {np.mean(losses[-50:]):.3f}",
                file=sys.stderr,
                flush=True,
            )
    return layer
