"""The stock of training pictures: pairs of a good and a defective one, in files on disk.

Drawing a pair costs about 30 ms of one core. Shards are written whole, so a stopped run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .pictures.drawing import SIDE
from .pictures.families import FAMILIES, TYPES
from .pictures.pairs import training_pair
from .pictures.photos import painted_pair, photo_family

SHARD = 250
"""Pairs in one shard."""


@dataclass(frozen=True)
class Source:
    """Where pairs come from: drawn families, or everyday photos with painted defects."""

    name: str
    pairs: int
    photos: tuple[Path, ...] = ()


def photo_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The photos to learn from and the held-out ones: every eighth folder."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    held_out = folders[7::8]
    files: list[list[Path]] = [[], []]
    for folder in folders:
        files[folder in held_out] += sorted(folder.glob("*.jpg"))
    return files[0], files[1]


def draw(source: Source, seed: int, number: int) -> tuple[str, str, np.ndarray, np.ndarray]:
    """Family, defect, both pictures [2, side, side, 3] and the mask of one pair."""
    if not source.photos:
        family, pair = training_pair(np.random.default_rng([seed, number]))
    else:
        pair, index, attempt = None, number % len(source.photos), number // len(source.photos)
        while pair is None:
            pair = painted_pair(source.photos, index, 1000 * seed + attempt)
            attempt += source.pairs
        family, _ = photo_family(source.photos[index].parent.name)
    return family, pair.defect, np.stack([pair.normal, pair.anomalous]), pair.mask


def draw_shard(source: Source, seed: int, shard: int, folder: Path) -> None:
    """Draws one shard into `folder`."""
    numbers = range(shard * SHARD, min((shard + 1) * SHARD, source.pairs))
    pictures = np.zeros((len(numbers), 2, SIDE, SIDE, 3), np.uint8)
    masks = np.zeros((len(numbers), SIDE, SIDE), np.uint8)
    about = []
    for i, number in enumerate(numbers):
        family, defect, pictures[i], masks[i] = draw(source, seed, number)
        about.append([family, defect])
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "pictures.npy", pictures)
    np.save(part / "masks.npy", masks)
    (part / "about.json").write_text(json.dumps(about))
    part.rename(folder)


def fill(root: Path, sources: list[Source], seed: int) -> None:
    """Draws the shards that are missing."""
    missing = []
    for source in sources:
        for shard in range(-(-source.pairs // SHARD)):
            folder = root / f"{source.name}-{seed}-{shard:04}"
            if not folder.exists():
                missing.append((source, seed, shard, folder))
    started = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        jobs = [workers.submit(draw_shard, *job) for job in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(f"drawn {done} of {len(jobs)} shards, {left:.0f} s left", file=sys.stderr)


class Stock:
    """All shards of a folder, opened without reading them."""

    def __init__(self, root: Path, sources: list[Source]):
        folders = sorted(
            folder for source in sources for folder in root.glob(f"{source.name}-*-????")
        )
        self.pictures = [np.load(f / "pictures.npy", mmap_mode="r") for f in folders]
        self.masks = [np.load(f / "masks.npy", mmap_mode="r") for f in folders]
        about = [json.loads((f / "about.json").read_text()) for f in folders]
        self.places = [(s, i) for s, shard in enumerate(about) for i in range(len(shard))]
        self.families = [family for shard in about for family, _ in shard]
        self.defects = [TYPES.index(defect) for shard in about for _, defect in shard]
        self.family_list = sorted(set(self.families))

    def __len__(self) -> int:
        return len(self.places)

    def picture(self, pair: int, defective: bool) -> tuple[np.ndarray, np.ndarray]:
        """One picture of a pair, and its mask."""
        shard, row = self.places[pair]
        mask = self.masks[shard][row]
        return self.pictures[shard][row, int(defective)], mask if defective else np.zeros_like(mask)


def names(family: str) -> tuple[str, ...]:
    """What a family's products are called."""
    if family in FAMILIES:
        return FAMILIES[family].names
    return photo_family(family.removeprefix("photo "))[1].names
