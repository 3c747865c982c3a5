"""The weights that a training begins with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .model import WIDTH, Attention, Hybrid, Linear, PatchLayers, load, normalised
from .stock import Stock

BLOCKS = [3, 4, 5, 6]


def begin(start: Path, stock: Stock, from_scratch: bool) -> tuple[Hybrid, PatchLayers]:
    """The model in `start` and its adapter's layers on blocks. From scratch only its trunk is
    kept."""
    net = load(start)
    layers = PatchLayers(BLOCKS, net.config["projection_dim"])
    if from_scratch:
        fresh = Hybrid(net.config)
        fresh.trunk = net.trunk
        pictures = np.stack([stock.picture(i, False)[0] for i in range(0, len(stock), 97)])
        initialise(fresh, normalised(pictures[:128]))
        return fresh, layers
    found = load_file(start / "adapter.safetensors")
    layers.load_state_dict({k: v.float() for k, v in found.items() if k.startswith("fc.")})
    return net, layers


@torch.no_grad()
def initialise(model: Hybrid, pixels: Tensor) -> None:
    """First weights. `pixels`: pictures to set scales by."""
    for module in model.modules():
        if isinstance(module, Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for encoder in (model.vision_model.encoder, model.text_model.encoder):
        for block in encoder.layers:
            for layer in (block.self_attn.out_proj, block.mlp.fc2):
                layer.weight.mul_((2 * len(encoder.layers)) ** -0.5)
    nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=0.1)
    nn.init.normal_(model.text_model.embeddings.position_embedding.weight, std=0.05)
    embeddings = model.vision_model.embeddings
    embeddings.position_embedding.weight.copy_(sines(embeddings.grid, WIDTH))
    embeddings.patch_embedding.weight.copy_(cosines(embeddings.patch, pixels))
    for block in model.vision_model.encoder.layers:
        mimetic(block.self_attn, WIDTH)


def sines(grid: int, width: int) -> Tensor:
    """Position embeddings of sines and cosines, the class token's first."""
    at = torch.arange(grid).float()
    y, x = torch.meshgrid(at, at, indexing="ij")
    waves = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    parts = [f(p.reshape(-1, 1) * waves) for p in (x, y) for f in (torch.sin, torch.cos)]
    return torch.cat([torch.zeros(1, width), torch.cat(parts, 1)])


def cosines(patch: int, pixels: Tensor) -> Tensor:
    """Patch projections from the lowest waves of a discrete cosine transform, most of them of
    brightness, scaled to unit variance on `pixels`."""
    k = torch.arange(patch).float()
    basis = torch.cos(math.pi / patch * (k[None] + 0.5) * k[:, None]) * math.sqrt(2 / patch)
    basis[0] /= math.sqrt(2)
    order = sorted((i + j, i, j) for i in range(patch) for j in range(patch))
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])
    colours = colours / colours.norm(dim=1, keepdim=True)
    waves = [
        colours[c][:, None, None] * torch.outer(basis[i], basis[j])
        for c, count in ((0, 144), (1, 24), (2, 24))
        for _, i, j in order[:count]
    ]
    weight = torch.stack(waves)
    outputs = F.conv2d(pixels, weight, stride=patch)
    scale = outputs.std((0, 2, 3)) + 0.1
    return 0.5 * weight / scale[:, None, None, None]


def mimetic(attention: Attention, width: int) -> None:
    """Attention that begins near "look at what is alike, and subtract it" (Trockman and Kolter
    2023, arXiv 2305.09828)."""
    head = width // attention.heads
    eye = torch.eye(width)
    for h in range(attention.heads):
        u, s, v = torch.linalg.svd(0.7 * torch.randn(width, width) / width**0.5 + 0.7 * eye)
        root, rows = s[:head].sqrt(), slice(h * head, (h + 1) * head)
        attention.q_proj.weight[rows] = (u[:, :head] * root).t()
        attention.k_proj.weight[rows] = v[:head] * root[:, None]
    u, s, v = torch.linalg.svd(0.4 * torch.randn(width, width) / width**0.5 - 0.4 * eye)
    attention.v_proj.weight.copy_(v * s.sqrt()[:, None])
    attention.out_proj.weight.copy_(u * s.sqrt())
