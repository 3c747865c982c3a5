"""`python -m blemish_training --help`."""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from . import card, evaluate, export, held_out, losses, model
from .evaluate import Judged
from .initial import initialise
from .stock import Source, Stock, fill, photo_files
from .train import Options, Run, train
from .trunk_layer import train_trunk_layer

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [3, 4, 5, 6]
SPREAD_PHOTOS = 48


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m blemish_training")
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("train", help="trains weights/tiny; goes on if it was stopped")
    whole.add_argument("--photos", type=Path, required=True, help="everyday photos, a folder each")
    whole.add_argument("--start", type=Path, default=ROOT / "weights/tiny", help="first weights")
    whole.add_argument("--from-scratch", action="store_true", help="of them, take only the trunk")
    whole.add_argument("--work", type=Path, default=Path("run"), help="pictures and checkpoints")
    whole.add_argument("--out", type=Path, default=Path("run/tiny"), help="the model's folder")
    whole.add_argument("--drawn", type=int, default=10_000, help="pairs of drawn pictures")
    whole.add_argument("--painted", type=int, default=2_400, help="pairs of painted photos")
    whole.add_argument("--steps", type=int, default=6_000, help="steps of the towers")
    whole.add_argument("--layer-steps", type=int, default=1_500, help="steps of the trunk's layer")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole.add_argument("--device", default=device, help=f"cuda or cpu [{device}]")
    whole.add_argument("--threads", type=int, help="threads of PyTorch [all cores]")
    whole.add_argument("--seed", type=int, default=1)
    writes = commands.add_parser("held-out", help="writes held-out pictures in MVTec AD's layout")
    writes.add_argument("folder", type=Path)
    writes.add_argument("--photos", type=Path, help="everyday photos, to paint defects on")
    return parser.parse_args()


@dataclass
class Sets:
    """Held-out pictures."""

    families: list[Judged]
    photos: list[Judged]

    @classmethod
    def draw(cls, photos: Path) -> Sets:
        print("draws the held-out pictures", file=sys.stderr)
        return cls(held_out.families(), held_out.photos(photos))

    def score(self, net: model.Hybrid, layers: model.PatchLayers, tokens: losses.Tokens) -> float:
        """The mean of image and pixel AUROC, of one product per family and of some photos."""
        some = self.families[:: held_out.PRODUCTS] + self.photos[::2]
        results = [
            evaluate.measure(evaluate.outputs(net, layers, None, judged, tokens), judged)
            for judged in some
        ]
        means = evaluate.table(results)
        return (means["class"] + means["blocks pixel"]) / 2


def main() -> None:
    """Runs one command."""
    asked = arguments()
    cv2.setNumThreads(1)
    if asked.command == "held-out":
        held_out.write_all(asked.folder, asked.photos)
        return
    torch.set_default_device(asked.device)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    run_all(asked)


def run_all(asked: argparse.Namespace) -> None:
    """Draws, trains, exports and writes the card."""
    learnt, _ = photo_files(asked.photos)
    sources = [Source("drawn", asked.drawn), Source("painted", asked.painted, tuple(learnt))]
    asked.work.mkdir(parents=True, exist_ok=True)
    fill(asked.work / "stock", sources, asked.seed)
    stock = Stock(asked.work / "stock", sources)
    print(f"{len(stock)} pairs of {len(stock.family_list)} families", file=sys.stderr)
    sets = Sets.draw(asked.photos)

    torch.manual_seed(asked.seed)
    net, layers = begin(asked, stock)
    context = net.config["text_config"]["max_position_embeddings"]
    tokens = losses.Tokens(asked.start, context)
    helpers = losses.Helpers(len(stock.family_list), net.config["projection_dim"])
    run = Run(net, layers, helpers, Options(steps=asked.steps, seed=asked.seed))
    twin, twin_layers = begin(asked, stock)

    def judge(parts: dict) -> float:
        adopt(parts, twin, twin_layers)
        return sets.score(twin, twin_layers, tokens)

    train(run, stock, tokens, asked.work / "checkpoint.pt", judge)
    adopt(run.best["parts"], twin, twin_layers)
    final = export.save_model(twin, asked.start, asked.out)
    finish(asked, run, stock, sets, final, twin_layers, tokens)


def device_name(device: str) -> str:
    """What a card says of the machine."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} cores ({platform.machine()})"


def begin(asked: argparse.Namespace, stock: Stock) -> tuple[model.Hybrid, model.PatchLayers]:
    """The model and the adapter's layers on blocks that training starts from."""
    net = model.load(asked.start)
    layers = model.PatchLayers(BLOCKS, net.config["projection_dim"])
    if asked.from_scratch:
        fresh = model.Hybrid(net.config)
        fresh.trunk = net.trunk
        pictures = np.stack([stock.picture(i, False)[0] for i in range(0, len(stock), 97)])
        initialise(fresh, model.normalised(pictures[:128]))
        return fresh, layers
    found = load_file(asked.start / "adapter.safetensors")
    layers.load_state_dict({k: v.float() for k, v in found.items() if k.startswith("fc.")})
    return net, layers


def adopt(parts: dict, net: model.Hybrid, layers: model.PatchLayers) -> None:
    """Gives a model the parameters of a run."""

    def own(prefix: str) -> dict:
        return {k.removeprefix(prefix): v for k, v in parts.items() if k.startswith(prefix)}

    net.load_state_dict(own("model."))
    layers.load_state_dict(own("layers."))


def finish(
    asked: argparse.Namespace,
    run: Run,
    stock: Stock,
    sets: Sets,
    net: model.Hybrid,
    layers: model.PatchLayers,
    tokens: losses.Tokens,
) -> None:
    """Trains the layer on the trunk, and writes everything that goes with the weights."""
    trunk_layer = train_trunk_layer(net, stock, tokens, asked.layer_steps, asked.seed)
    some = np.linspace(0, len(stock) - 1, SPREAD_PHOTOS).astype(int)
    good = []
    for i in some:
        picture, mask = stock.picture(int(i), False)
        name = losses.names(stock.families[i])[0]
        good.append(Judged(name, picture[None], mask[None], np.zeros(1, int)))
    # "drawn tile" is not the product "tile" of a data set.
    products = [f if f.startswith("photo ") else f"drawn {f}" for f in stock.family_list]
    export.save_adapter(asked.out, net, layers, trunk_layer, good, tokens, products)
    fixtures = ROOT / "tests/fixtures/tiny"
    if asked.out.resolve() == (ROOT / "weights/tiny").resolve():
        export.save_golden(fixtures, asked.out, tokens)

    def measured(judged: list[Judged]) -> dict[str, float]:
        found = [
            evaluate.measure(evaluate.outputs(net, layers, trunk_layer, j, tokens), j)
            for j in judged
        ]
        return evaluate.table(found)

    results = {
        "held-out families": measured(sets.families), "held-out photos": measured(sets.photos),
    }  # fmt: skip
    for name, result in results.items():
        print(name, {key: round(value, 3) for key, value in result.items()})
    is_drawn = [not family.startswith("photo ") for family in stock.families]
    facts = card.Facts(
        command=f"python -m {' '.join(['blemish_training', *sys.argv[1:]])}",
        start=str(asked.start),
        drawn=sum(is_drawn),
        painted=len(stock) - sum(is_drawn),
        families=sum(not family.startswith("photo ") for family in stock.family_list),
        steps=run.best["step"],
        batch=run.options.batch,
        hours=run.hours,
        device=device_name(asked.device),
        layer_steps=asked.layer_steps,
        results=results,
    )
    card.write(asked.out / "README.md", facts)


if __name__ == "__main__":
    main()
