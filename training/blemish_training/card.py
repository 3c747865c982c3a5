"""The model card, weights/tiny/README.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CARD = """\
# The embedded model

A small CLIP on a pretrained trunk: images of 240 pixels, patches of 16, embeddings of 128. The first
eleven blocks of EfficientNet-Lite0 (0.7 million parameters, trained on ImageNet, frozen) add their
channels to each patch. A vision transformer of 6 blocks and a text transformer of 3 blocks follow,
with 3.8 million parameters of our own. The adapter has a layer on blocks 3, 4, 5 and 6, and one on the
trunk.

`training/README.md` says how it is trained. `docs/measured.md` has its figures on real photos.

## Data

- {drawn} pairs of drawn pictures: a good and a defective picture of the same product, of
  {families} families of products, by `training/blemish_training/pictures`.
- {painted} pairs of everyday photos with painted defects (GroceryStoreDataset, MIT licence).
- No photo of an inspection data set. MVTec AD, LOCO and VisA were not used.

## This run

- Command: `{command}`
- It began with the weights of `{start}`.
- {steps} steps of {batch} pictures, {hours:.1f} hours on {device}. Then {layer_steps} steps for the
  layer on the trunk.
- We kept the step with the best scores on held-out pictures.

## Figures

Mean AUROC by words, measured by the training code, in float32:

| set | photos, class token | photos, map's highest 1 % | pixels, blocks | pixels, trunk | defect named, of 21 |
|---|---|---|---|---|---|
{rows}

## Limits

- It was trained to see damage on surfaces and parts. Ask a larger model for anything else.
- It does not read. It cannot tell a wrong word from a right one.
- It reads English words only. blemish translates the words that it knows.
- By words alone it often fails on real photos. Measure it on your own before you rely on it.

## Licence

MIT or Apache-2.0, as blemish itself. The trunk is Google's, Apache-2.0: see `NOTICE`.
"""


@dataclass
class Facts:
    """What a run knows about itself."""

    command: str
    start: str
    drawn: int
    painted: int
    families: int
    steps: int
    batch: int
    hours: float
    device: str
    layer_steps: int
    results: dict[str, dict[str, float]]


def write(path: Path, facts: Facts) -> None:
    """Writes the card."""
    columns = ("class", "trunk top", "blocks pixel", "trunk pixel", "named")
    rows = [
        f"| {name} | " + " | ".join(f"{result[c]:.3f}" for c in columns) + " |"
        for name, result in facts.results.items()
    ]
    known = {k: v for k, v in vars(facts).items() if k != "results"}
    path.write_text(CARD.format(rows="\n".join(rows), **known))
