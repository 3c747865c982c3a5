"""`python -m blemish_training --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import torch
from safetensors.torch import load_file

from . import losses, model
from .stock import Source, Stock, fill, photo_files
from .train import Options, Run, train

ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m blemish_training",
        description="Trains the model in weights/tiny. A run that was stopped goes on.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="everyday photos, a folder each")
    parser.add_argument("--start", type=Path, default=ROOT / "weights/tiny", help="first weights")
    parser.add_argument("--work", type=Path, default=Path("training-run"), help="stock, checkpoint")
    parser.add_argument("--drawn", type=int, default=10_000, help="pairs of drawn pictures")
    parser.add_argument("--painted", type=int, default=2_400, help="pairs of painted photos")
    parser.add_argument("--steps", type=int, default=4_000, help="training steps")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (all cores)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Draws, trains."""
    asked = arguments()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    cv2.setNumThreads(1)
    learnt, _ = photo_files(asked.photos)
    sources = [Source("drawn", asked.drawn), Source("painted", asked.painted, tuple(learnt))]
    asked.work.mkdir(parents=True, exist_ok=True)
    fill(asked.work / "stock", sources, asked.seed)
    stock = Stock(asked.work / "stock", sources)
    print(f"{len(stock)} pairs of {len(stock.family_list)} families", file=sys.stderr)

    torch.manual_seed(asked.seed)
    net = model.load(asked.start)
    layers = model.PatchLayers([3, 4, 5, 6], net.config["projection_dim"])
    adapter = load_file(asked.start / "adapter.safetensors")
    layers.load_state_dict({k: v.float() for k, v in adapter.items() if k.startswith("fc.")})
    helpers = losses.Helpers(len(stock.family_list), net.config["projection_dim"])
    run = Run(net, layers, helpers, Options(steps=asked.steps, seed=asked.seed))
    context = net.config["text_config"]["max_position_embeddings"]
    train(run, stock, losses.Tokens(asked.start, context), asked.work / "checkpoint.pt")


if __name__ == "__main__":
    main()
