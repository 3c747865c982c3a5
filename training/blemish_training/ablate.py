"""Trains small models from scratch, side by side on the same batches, each with one part of the
recipe changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import losses
from .held_out import Sets, measured
from .initial import begin
from .stock import Stock
from .train import WEIGHTS, Batches, Options, Run, adopt

BATCH = 24
NO_DENSE = "without dense and dense types"


class Remembered(nn.Module):
    """The trunk with the features of its last input: all models see the same pictures."""

    def __init__(self, trunk: nn.Module):
        super().__init__()
        self.inner = trunk
        self.last: tuple[Tensor | None, Tensor | None] = (None, None)

    def features(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """As the trunk's own."""
        if self.last[0] is not pixels:
            self.last = (pixels, self.inner.features(pixels, dtype))
        return self.last[1]


def without_trunk(run: Run) -> None:
    """The patches see only pixels."""
    projection = run.model.vision_model.embeddings.trunk_projection
    for parameter in projection.parameters():
        nn.init.zeros_(parameter).requires_grad_(False)


def adam_only(run: Run) -> None:
    """AdamW for the blocks' matrices too, at Muon's rate."""
    run.muon = torch.optim.AdamW(
        run.muon.param_groups[0]["params"], weight_decay=0.05, betas=(0.9, 0.98)
    )


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe: weights of terms, or a change to the run."""

    name: str
    weights: dict[str, float]
    change: Callable[[Run], None] | None = None
    seed: int = 0


VARIANTS = [
    Variant("the recipe", {}),
    Variant("the same, another seed", {}, seed=1),
    Variant(NO_DENSE, {"dense": 0.0, "dense types": 0.0}),
    Variant("without windows", {"windows": 0.0}),
    Variant("without helpers", {"helpers": 0.0}),
    Variant("without the trunk", {}, without_trunk),
    Variant("AdamW instead of Muon", {}, adam_only),
]


def run_of(variant: Variant, trunk: Remembered, start: Path, stock: Stock, options: Options) -> Run:
    """A model at its beginning."""
    seed = options.seed + variant.seed
    torch.manual_seed(seed)
    net, layers = begin(start, stock, from_scratch=True)
    net.trunk = trunk
    helpers = losses.Helpers(len(stock.family_list))
    weights = WEIGHTS | variant.weights
    run = Run(net, layers, helpers, replace(options, seed=seed, weights=weights))
    if variant.change:
        variant.change(run)
    return run


def ablate(start: Path, stock: Stock, sets: Sets, steps: int, seed: int) -> None:
    """Trains all variants, and prints a Markdown table."""
    options = Options(steps=steps, batch=BATCH, seed=seed)
    first, layers = begin(start, stock, from_scratch=True)
    trunk = Remembered(first.trunk)
    tokens = losses.Tokens(start, first.config["text_config"]["max_position_embeddings"])
    runs = [run_of(variant, trunk, start, stock, options) for variant in VARIANTS]
    batches, started = Batches(stock, options, 0), time.monotonic()
    batches.start()
    for step in range(steps):
        batch = batches.ready.get().on_device()
        for run in runs:
            run.advance(batch, tokens)
        if (step + 1) % 10 == 0:
            left = (time.monotonic() - started) / (step + 1) * (steps - step - 1) / 60
            print(f"step {step + 1}/{steps}, {left:.0f} min left", file=sys.stderr, flush=True)

    print("| change | families: photos | pixels | named | painted photos: photos | pixels |")
    print("|---|---|---|---|---|---|")
    for variant, run in zip(VARIANTS, runs, strict=True):
        adopt(run.average, first, layers)
        drawn = measured(first, layers, sets.families[::2], tokens)
        painted = measured(first, layers, sets.photos[::2], tokens)
        values = [drawn["class"], drawn["blocks pixel"], drawn["named"]]
        values += [painted["class"], painted["blocks pixel"]]
        assert np.isfinite(values).all(), "a measure is not a number"
        cells = [f"{value:.3f}" for value in values]
        if variant.name == NO_DENSE:
            # Nothing trained its layers on patches.
            cells[1] = cells[4] = "-"
        row = " | ".join(cells)
        print(f"| {variant.name} | {row} |", flush=True)
