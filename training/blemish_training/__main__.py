"""`python -m blemish_training --help`."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from . import card, export, held_out, losses, model, sheet
from .ablate import ablate
from .evaluate import Judged
from .held_out import Sets, measured
from .initial import begin
from .stock import Source, Stock, fill, photo_files
from .train import Options, Run, adopt, train
from .trunk_layer import train_trunk_layer

ROOT = Path(__file__).resolve().parents[2]
SPREAD_PHOTOS = 48


def common(command: argparse.ArgumentParser) -> None:
    """What every training takes."""
    command.add_argument(
        "--photos", type=Path, required=True, help="everyday photos, a folder each"
    )
    command.add_argument("--start", type=Path, default=ROOT / "weights/tiny", help="first weights")
    command.add_argument("--work", type=Path, default=Path("run"), help="pictures and checkpoints")
    command.add_argument("--drawn", type=int, default=10_000, help="pairs of drawn pictures")
    command.add_argument("--painted", type=int, default=2_400, help="pairs of painted photos")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    command.add_argument("--device", default=device, help=f"cuda or cpu [{device}]")
    command.add_argument("--threads", type=int, help="threads of PyTorch [all cores]")
    command.add_argument("--seed", type=int, default=1)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m blemish_training")
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("train", help="trains weights/tiny; goes on if it was stopped")
    whole.add_argument("--from-scratch", action="store_true", help="of them, take only the trunk")
    whole.add_argument("--out", type=Path, default=Path("run/tiny"), help="the model's folder")
    whole.add_argument("--steps", type=int, default=6_000, help="steps of the towers")
    whole.add_argument("--layer-steps", type=int, default=1_500, help="steps of the trunk's layer")
    small = commands.add_parser("ablate", help="small models, each without a part of the recipe")
    small.add_argument("--steps", type=int, default=250)
    for command in (whole, small):
        common(command)
    writes = commands.add_parser("held-out", help="writes held-out pictures in MVTec AD's layout")
    writes.add_argument("folder", type=Path)
    writes.add_argument("--photos", type=Path, help="everyday photos, to paint defects on")
    shows = commands.add_parser("sheet", help="draws held-out pictures beside their maps")
    shows.add_argument("file", type=Path, help="a .jpg or .png")
    shows.add_argument("--model", type=Path, default=ROOT / "weights/tiny", help="the weights")
    return parser.parse_args()


def main() -> None:
    """Runs one command."""
    asked = arguments()
    cv2.setNumThreads(1)
    if asked.command == "held-out":
        held_out.write_all(asked.folder, asked.photos)
        return
    if asked.command == "sheet":
        sheet.write(asked.file, asked.model)
        return
    torch.set_default_device(asked.device)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    stock, sets = drawn_stock(asked), Sets.draw(asked.photos)
    if asked.command == "ablate":
        ablate(asked.start, stock, sets, asked.steps, asked.seed)
        return
    run_all(asked, stock, sets)


def drawn_stock(asked: argparse.Namespace) -> Stock:
    """The training pictures, drawn where they are missing."""
    learnt, _ = photo_files(asked.photos)
    sources = [Source("drawn", asked.drawn), Source("painted", asked.painted, tuple(learnt))]
    asked.work.mkdir(parents=True, exist_ok=True)
    fill(asked.work / "stock", sources, asked.seed)
    stock = Stock(asked.work / "stock", sources)
    print(f"{len(stock)} pairs of {len(stock.family_list)} families", file=sys.stderr)
    return stock


def run_all(asked: argparse.Namespace, stock: Stock, sets: Sets) -> None:
    """Trains, exports and writes the card."""
    torch.manual_seed(asked.seed)
    net, layers = begin(asked.start, stock, asked.from_scratch)
    context = net.config["text_config"]["max_position_embeddings"]
    tokens = losses.Tokens(asked.start, context)
    helpers = losses.Helpers(len(stock.family_list))
    run = Run(net, layers, helpers, Options(steps=asked.steps, seed=asked.seed))
    twin, twin_layers = begin(asked.start, stock, asked.from_scratch)

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

    results = {
        "held-out families": measured(net, layers, sets.families, tokens, trunk_layer),
        "held-out photos": measured(net, layers, sets.photos, tokens, trunk_layer),
    }
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
