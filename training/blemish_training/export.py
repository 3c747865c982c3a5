"""Writes the trained model as the program embeds it: weights, adapter, a golden and the card."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from . import model as models
from .evaluate import TRUNK_SHARE, Judged, joined, outputs, text_ensembles
from .losses import GRID, Tokens
from .model import Hybrid, PatchLayers, TrunkLayer, normalised

COPIED = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
TEMPERATURE = 0.07
"""WinCLIP's, as the program has it."""


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def readable(path: Path) -> None:
    """Gives a file the usual rights. safetensors writes files that only their owner can read."""
    path.chmod(0o644)


@torch.no_grad()
def window_maps(model: Hybrid, judged: Judged, tokens: Tokens) -> np.ndarray:
    """WinCLIP's maps (arXiv 2303.14814, section 4.2), [n, grid, grid]: the harmonic mean of the
    whole photo and of all windows of 2x2 and 3x3 patches that hold a patch."""
    text = text_ensembles(model, judged.name, tokens)
    direction = (text[1] - text[0]) / TEMPERATURE
    maps = []
    for picture in judged.pictures:
        embedded = model.tokens(normalised(picture[None]), torch.float32)
        whole = torch.sigmoid(model.image(model.blocks(embedded)[-1]) @ direction)
        inverse = (1 / whole).expand(GRID, GRID).clone()
        for side in (2, 3):
            starts = range(GRID + 1 - side)
            places = [
                [(top + y) * GRID + left + x for y in range(side) for x in range(side)]
                for top in starts
                for left in starts
            ]
            windows = embedded[0, 1:][torch.tensor(places)]
            first = embedded[:, :1].expand(len(windows), 1, -1)
            images = model.image(model.blocks(torch.cat([first, windows], 1))[-1])
            scores = torch.sigmoid(images @ direction).view(1, 1, len(starts), len(starts))
            ones = torch.ones(1, 1, side, side)
            sums = F.conv_transpose2d(1 / scores, ones)[0, 0]
            counts = F.conv_transpose2d(torch.ones_like(scores), ones)[0, 0]
            inverse += sums / counts
        maps.append(3 / inverse)
    return torch.stack(maps).cpu().numpy()


def spread(maps: np.ndarray) -> float:
    """The mean over photos of the standard deviation of a map's log-odds."""
    odds = np.log(maps / (1 - maps)).reshape(len(maps), -1)
    return float(odds.std(1).mean())


def save_adapter(
    folder: Path,
    model: Hybrid,
    layers: PatchLayers,
    trunk_layer: TrunkLayer,
    good: list[Judged],
    tokens: Tokens,
    products: list[str],
) -> None:
    """Writes adapter.safetensors. `good`: photos of good parts, for the spreads."""
    windows = np.mean([spread(window_maps(model, judged, tokens)) for judged in good])
    found = [outputs(model, layers, trunk_layer, judged, tokens) for judged in good]
    maps = np.mean([spread(joined(one)) for one in found])
    tensors = dict(layers.state_dict())
    for name, tensor in trunk_layer.state_dict().items():
        tensors[f"trunk.{name}"] = tensor
    about = {
        "format": "blemish adapter 1",
        "blocks": ",".join(map(str, layers.blocks)),
        "input_size": str(model.config["vision_config"]["image_size"]),
        "activation": "gelu",
        "logit_scale": str(model.factor().item()),
        "model": "tiny",
        "model_sha256": sha256(folder / "model.safetensors"),
        "products": json.dumps(products),
        "training_data": "generated pictures, everyday photos with painted defects (training/)",
        "licence": "MIT OR Apache-2.0",
        "spread": f"{windows:.4f},{maps:.4f}",
    }
    half = {name: tensor.detach().half().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(half, folder / "adapter.safetensors", metadata=about)
    readable(folder / "adapter.safetensors")


def load_adapter(folder: Path, model: Hybrid) -> tuple[PatchLayers, TrunkLayer]:
    """Reads what `save_adapter` wrote, in half precision as the program does."""
    tensors = {k: v.float() for k, v in load_file(folder / "adapter.safetensors").items()}
    with safe_open(folder / "adapter.safetensors", "pt") as file:
        blocks = [int(block) for block in file.metadata()["blocks"].split(",")]
    layers = PatchLayers(blocks, model.config["projection_dim"])
    layers.load_state_dict({k: v for k, v in tensors.items() if k.startswith("fc.")})
    hidden, inputs = tensors["trunk.inner.weight"].shape
    trunk_layer = TrunkLayer(inputs // 2, hidden, model.config["projection_dim"])
    own = {k.removeprefix("trunk."): v for k, v in tensors.items() if k.startswith("trunk.")}
    trunk_layer.load_state_dict(own)
    return layers, trunk_layer


@torch.no_grad()
def save_golden(fixtures: Path, folder: Path, tokens: Tokens) -> None:
    """Writes what PyTorch makes of the pictures and texts that `expected.json` lists, for the
    program's tests: all embeddings, and all stages of the first picture. Its map and score compare
    the first text with the last one."""
    model = models.load(folder)
    layers, trunk_layer = load_adapter(folder, model)
    asked = json.loads((fixtures / "expected.json").read_text())
    side = model.config["vision_config"]["image_size"]
    pictures = [Image.open(fixtures / name).convert("RGB") for name in asked["images"]]
    resized = [np.asarray(picture.resize((side, side), Image.BICUBIC)) for picture in pictures]
    pixels = normalised(np.stack(resized))
    fine, coarse = model.trunk(pixels)
    embedded = model.tokens(pixels, torch.float32)
    blocks = model.blocks(embedded)
    end = model.config["text_config"]["eos_token_id"]
    images = model.image(blocks[-1])
    texts = model.text(tokens(asked["texts"], end), torch.float32)
    direction = model.factor() * (texts[-1] - texts[0])
    side = 2 * GRID
    logits = [rows[:1] @ direction for rows in layers(blocks)]
    logits = torch.stack([rows.view(1, GRID, GRID) for rows in logits], 1)
    logits = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
    on_trunk = trunk_layer(model.trunk.fine_features(pixels[:1]))[0] @ direction
    whole = (1 - TRUNK_SHARE) * torch.sigmoid(logits).mean(1).flatten()
    whole = whole + TRUNK_SHARE * torch.sigmoid(on_trunk)
    score = torch.sigmoid(images[0] @ direction + torch.logit(whole.max()))
    golden = {
        "image_embeds": images,
        "text_embeds": texts,
        "map": whole,
        "score": score.view(1),
        "trunk_fine": fine[0].flatten(1).t(),
        "trunk_coarse": coarse[0].flatten(1).t(),
        "tokens": embedded[0],
        "block_6": blocks[5][0],
    }
    golden = {name: tensor.float().cpu().contiguous() for name, tensor in golden.items()}
    save_file(golden, fixtures / "expected.safetensors")
    readable(fixtures / "expected.safetensors")


def save_model(model: Hybrid, start: Path, folder: Path) -> Hybrid:
    """Writes the weights, and reads them back as the program will: in half precision."""
    models.save(model, start, folder)
    readable(folder / "model.safetensors")
    for name in COPIED:
        if start.resolve() != folder.resolve():
            shutil.copyfile(start / name, folder / name)
    return models.load(folder)
