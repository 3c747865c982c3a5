"""The training loop. It goes on from its last checkpoint."""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from . import losses
from .augment import augmented, coverage
from .model import Hybrid, PatchLayers, normalised, on_device
from .stock import Stock

WEIGHTS = {
    "image": 1.0, "captions": 0.5, "types": 0.4, "dense": 1.0, "dense types": 0.2,
    "windows": 0.7, "helpers": 0.5,
}  # fmt: skip
"""Factors of the terms: those of the prototype."""


JUDGED_EVERY = 250
"""Steps between two measurements on held-out pictures."""


@dataclass
class Options:
    """Settings of a run."""

    steps: int
    batch: int = 40
    crop: int = 11
    """Side of the square of patches that the first half of a run sees of each picture."""
    seed: int = 0
    rate: float = 5e-4
    matrix_rate: float = 7.5e-4
    warm_up: int = 100
    average: float = 0.998
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))


class Batches(threading.Thread):
    """Draws batches ahead of the training, each with augmentations of its own."""

    def __init__(self, stock: Stock, options: Options, step: int):
        super().__init__(daemon=True)
        self.stock, self.options, self.step = stock, options, step
        self.ready: queue.Queue = queue.Queue(6)

    def run(self) -> None:
        while True:
            self.ready.put(self.draw(np.random.default_rng([self.options.seed, 1, self.step])))
            self.step += 1

    def draw(self, lots: np.random.Generator) -> losses.Batch:
        """A batch: in six of ten both pictures of each pair, else one of each."""
        count = self.options.batch
        if lots.random() < 0.6:
            pairs = np.repeat(lots.integers(len(self.stock), size=-(-count // 2)), 2)[:count]
            defective = np.arange(count) % 2 == 1
        else:
            pairs = lots.integers(len(self.stock), size=count)
            defective = lots.random(count) < 0.5
        pictures, covered = [], []
        for pair, bad in zip(pairs, defective, strict=True):
            original, mask = self.stock.picture(pair, bad)
            picture, changed = augmented(original, mask, lots)
            pictures.append(picture)
            covered.append(coverage(changed, losses.GRID).reshape(-1))
        families = [self.stock.families[pair] for pair in pairs]
        numbers = [self.stock.family_list.index(family) for family in families]
        kinds = [self.stock.defects[p] * int(b) for p, b in zip(pairs, defective, strict=True)]
        return losses.Batch(
            normalised(np.stack(pictures)),
            on_device(np.stack(covered)),
            families,
            torch.tensor(numbers),
            torch.tensor(kinds),
        )


class Run:
    """A model in training: its parameters, their moving average, and the optimisers."""

    def __init__(self, model: Hybrid, layers: PatchLayers, helpers, options: Options):
        self.model, self.layers, self.helpers, self.options = model, layers, helpers, options
        self.parts = torch.nn.ModuleDict({"model": model, "layers": layers, "helpers": helpers})
        named = list(self.parts.named_parameters())
        blocks = [p for n, p in named if ".encoder." in n and p.ndim == 2]
        chosen = set(map(id, blocks))
        rest = [(n, p) for n, p in named if id(p) not in chosen]
        plain = [p for n, p in rest if p.ndim < 2 or "position" in n]
        decayed = [p for n, p in rest if not (p.ndim < 2 or "position" in n)]
        groups = [
            {"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0},
        ]  # fmt: skip
        self.adam = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))
        # Muon for the blocks' matrices, as in the prototype, where it shortened training.
        self.muon = torch.optim.Muon(
            blocks, lr=options.matrix_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        )
        self.average = {n: p.detach().clone() for n, p in self.parts.state_dict().items()}
        self.step, self.hours = 0, 0.0
        self.best: dict = {"score": -1.0, "step": 0, "parts": self.average}

    def rates(self) -> None:
        """Warm-up, then half a cosine."""
        done = self.step / self.options.steps
        share = min(1, (self.step + 1) / self.options.warm_up)
        share *= 0.49 * (1 + math.cos(math.pi * done)) + 0.02
        for optimiser, rate in (
            (self.adam, self.options.rate),
            (self.muon, self.options.matrix_rate),
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * share

    def advance(self, batch: losses.Batch, tokenizer) -> dict[str, float]:
        """One step. Returns the terms of the loss."""
        torch.manual_seed(self.options.seed * 1_000_003 + self.step)
        lots = np.random.default_rng([self.options.seed, 2, self.step])
        self.rates()
        parts = (self.model, self.layers, self.helpers)
        early = self.step < self.options.steps / 2
        crop = self.options.crop if early else losses.GRID
        found = losses.terms(*parts, batch, tokenizer, lots, self.options.weights, crop)
        weights = self.options.weights
        loss = sum(weights[name] * term for name, term in found.items() if name in weights)
        self.parts.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        self.adam.step()
        self.muon.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(math.log(5), math.log(100))
            keep = min(self.options.average, (self.step + 1) / (self.step + 20))
            for name, value in self.parts.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)
        self.step += 1
        return {name: float(term.detach()) for name, term in found.items()}

    def keep_if_best(self, judge: Callable[[dict], float]) -> None:
        """Scores the moving average, and keeps it if no earlier one was better."""
        score = judge(self.average)
        print(f"step {self.step}: held-out score {score:.4f}", file=sys.stderr, flush=True)
        if score > self.best["score"]:
            parts = {name: value.clone() for name, value in self.average.items()}
            self.best = {"score": score, "step": self.step, "parts": parts}

    def save(self, path: Path) -> None:
        """Writes a checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "hours": self.hours,
            "best": self.best,
            "parts": self.parts.state_dict(),
            "average": self.average,
            "adam": self.adam.state_dict(),
            "muon": self.muon.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def resume(self, path: Path) -> None:
        """Takes up a checkpoint."""
        state = torch.load(path, map_location=torch.get_default_device())
        self.step, self.average = state["step"], state["average"]
        self.hours, self.best = state["hours"], state["best"]
        self.parts.load_state_dict(state["parts"])
        self.adam.load_state_dict(state["adam"])
        self.muon.load_state_dict(state["muon"])


def adopt(parts: dict, net: Hybrid, layers: PatchLayers) -> None:
    """Gives a model the parameters of a run."""

    def own(prefix: str) -> dict:
        return {k.removeprefix(prefix): v for k, v in parts.items() if k.startswith(prefix)}

    net.load_state_dict(own("model."))
    layers.load_state_dict(own("layers."))


def train(
    run: Run, stock: Stock, tokenizer, checkpoint: Path, judge: Callable[[dict], float]
) -> None:
    """Runs all steps, with a checkpoint every hundred. `judge` scores the moving average now and
    then, and the best one is kept in `run.best`."""
    if checkpoint.exists():
        run.resume(checkpoint)
        print(f"goes on at step {run.step}", file=sys.stderr)
    if run.step == 0:
        run.keep_if_best(judge)
    batches = Batches(stock, run.options, run.step)
    batches.start()
    started, first, log = time.monotonic(), run.step, {}
    hours = run.hours
    while run.step < run.options.steps:
        for name, value in run.advance(batches.ready.get().on_device(), tokenizer).items():
            log.setdefault(name, []).append(value)
        run.hours = hours + (time.monotonic() - started) / 3600
        if run.step % 25 == 0:
            each = (time.monotonic() - started) / (run.step - first)
            left = each * (run.options.steps - run.step) / 60
            means = "  ".join(f"{name} {np.mean(values):.3f}" for name, values in log.items())
            print(
                f"step {run.step}/{run.options.steps}, {left:.0f} min left: {means}",
                file=sys.stderr,
                flush=True,
            )
            log = {}
        is_last = run.step == run.options.steps
        if run.step % JUDGED_EVERY == 0 or is_last:
            run.keep_if_best(judge)
        if run.step % 100 == 0 or is_last:
            run.save(checkpoint)
