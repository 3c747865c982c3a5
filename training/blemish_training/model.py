"""The embedded model in PyTorch: a small CLIP on a frozen, pretrained trunk.

The names of its parameters are those of the file (Hugging Face's CLIP layout with additions), so a
file is loaded and saved without a table of names.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
TRUNK = "vision_model.embeddings.trunk."
WIDTH = 192


def on_device(array: np.ndarray) -> Tensor:
    """An array as a tensor on the thread's device (`torch.set_default_device`)."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(torch.get_default_device())


def normalised(pictures: np.ndarray) -> Tensor:
    """[n, h, w, 3] bytes to the model's input, [n, 3, h, w], on the thread's device."""
    pixels = on_device(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    return (pixels - mean) / std


class Norm(nn.LayerNorm):
    """A layer norm that keeps the type of its input."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(
            x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps
        )


class Linear(nn.Linear):
    """A linear layer that keeps the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Attention(nn.Module):
    """Multi-head attention with one product for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, Linear(width, width))

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        parts = (self.q_proj, self.k_proj, self.v_proj)
        weight = torch.cat([p.weight for p in parts]).to(x.dtype)
        bias = torch.cat([p.bias for p in parts]).to(x.dtype)
        batch, tokens, width = x.shape
        qkv = F.linear(x, weight, bias).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # Faster than PyTorch's own attention at this size, forward and backward.
        weights = q * (width // self.heads) ** -0.5 @ k.transpose(-1, -2)
        if causal:
            weights = weights + torch.full_like(weights[0, 0], -1e4).triu(1)
        mixed = torch.softmax(weights, -1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    """Two layers with the exact GELU between."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.layer_norm1, self.layer_norm2 = Norm(width), Norm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """Blocks one after another."""

    def __init__(self, width: int, heads: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, causal: bool = False) -> list[Tensor]:
        outputs = []
        for block in self.layers:
            x = block(x, causal)
            outputs.append(x)
        return outputs


class Trunk(nn.Module):
    """The first blocks of EfficientNet-Lite0, frozen, batch norms folded into the convolutions."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.weights: dict[str, Tensor] = {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes its tensors out of a model's."""
        found = {k.removeprefix(TRUNK): v for k, v in tensors.items() if k.startswith(TRUNK)}
        for name, weight in found.items():
            if name.endswith("weight") and weight.ndim == 2:
                found[name] = weight[:, :, None, None]
            if name.endswith("weight") and weight.ndim == 3:
                found[name] = weight[:, None]
        device = torch.get_default_device()
        self.weights = {name: weight.to(device) for name, weight in found.items()}

    def convolve(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        """A convolution with TensorFlow's "SAME" padding."""
        weight = self.weights[f"{name}.weight"].to(x.dtype)
        bias = self.weights[f"{name}.bias"].to(x.dtype)
        kernel = weight.shape[-1]
        if stride == 1:
            return F.conv2d(x, weight, bias, padding=kernel // 2, groups=groups)

        def padding(size: int) -> tuple[int, int]:
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            return total // 2, total - total // 2

        x = F.pad(x, (*padding(x.shape[-1]), *padding(x.shape[-2])))
        return F.conv2d(x, weight, bias, stride=stride, groups=groups)

    @torch.no_grad()
    def forward(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """[n, 3, size, size], normalised for CLIP, to the two taps of the configuration."""
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
        offset, scale = self.config["mean"], self.config["std"]
        x = ((pixels * std + mean) * 255 - offset) / scale
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.convolve(x, "stem", self.config["stem_stride"]), inplace=True)
        taps = []
        for i, block in enumerate(self.config["blocks"]):
            y = x
            if f"blocks.{i}.expand.weight" in self.weights:
                y = F.relu6(self.convolve(y, f"blocks.{i}.expand"), inplace=True)
            y = self.convolve(y, f"blocks.{i}.depthwise", block["stride"], y.shape[1])
            y = F.relu6(y, inplace=True)
            y = self.convolve(y, f"blocks.{i}.project")
            x = x + y if block["stride"] == 1 and block["input"] == block["output"] else y
            if i + 1 in self.config["taps"]:
                taps.append(x)
        return taps[0], taps[1]

    def features(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Both taps on the grid of the patches, [n, grid^2, channels]."""
        fine, coarse = self(pixels, dtype)
        return torch.cat([F.pixel_unshuffle(fine, 2), coarse], 1).flatten(2).transpose(1, 2)

    def fine_features(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Both taps on a grid twice as fine, [n, (2 grid)^2, channels]."""
        fine, coarse = (tap.float() for tap in self(pixels, dtype))
        coarse = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], 1).flatten(2).transpose(1, 2)


class VisionEmbeddings(nn.Module):
    """Patches of pixels and of the trunk to tokens."""

    def __init__(self, config: dict, channels: int):
        super().__init__()
        width, self.patch = config["hidden_size"], config["patch_size"]
        self.grid = config["image_size"] // self.patch
        self.patch_embedding = nn.Conv2d(3, width, self.patch, self.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.3)
        self.position_embedding = nn.Embedding(1 + self.grid**2, width)
        self.trunk_norm, self.trunk_projection = Norm(channels), Linear(channels, width)

    def forward(self, pixels: Tensor, features: Tensor, dtype: torch.dtype) -> Tensor:
        batch, grid, patch = len(pixels), self.grid, self.patch
        x = pixels.view(batch, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        weight = self.patch_embedding.weight.flatten(1).to(dtype)
        tokens = F.linear(x.reshape(batch, grid * grid, -1).to(dtype), weight)
        tokens = tokens + self.trunk_projection(self.trunk_norm(features.to(dtype)))
        first = self.class_embedding.to(dtype).expand(batch, 1, -1)
        return torch.cat([first, tokens], 1) + self.position_embedding.weight.to(dtype)


class VisionModel(nn.Module):
    """The image tower."""

    def __init__(self, config: dict, channels: int):
        super().__init__()
        width = config["hidden_size"]
        self.embeddings = VisionEmbeddings(config, channels)
        self.pre_layrnorm, self.post_layernorm = Norm(width), Norm(width)
        heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
        self.encoder = Encoder(width, heads, layers)


class TextEmbeddings(nn.Module):
    """Tokens and positions."""

    def __init__(self, config: dict):
        super().__init__()
        width = config["hidden_size"]
        self.token_embedding = nn.Embedding(config["vocab_size"], width)
        self.position_embedding = nn.Embedding(config["max_position_embeddings"], width)


class TextModel(nn.Module):
    """The text tower."""

    def __init__(self, config: dict):
        super().__init__()
        width = config["hidden_size"]
        self.embeddings = TextEmbeddings(config)
        heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
        self.encoder = Encoder(width, heads, layers)
        self.final_layer_norm = Norm(width)


class Hybrid(nn.Module):
    """The model of spec/hybrid.md."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        vision, text, embedding = (
            config["vision_config"], config["text_config"], config["projection_dim"],
        )  # fmt: skip
        blocks = vision["trunk"]["blocks"]
        fine, coarse = (blocks[tap - 1]["output"] for tap in vision["trunk"]["taps"])
        self.channels = 4 * fine + coarse
        self.vision_model = VisionModel(vision, self.channels)
        self.visual_projection = Linear(vision["hidden_size"], embedding, bias=False)
        self.text_model = TextModel(text)
        self.text_projection = Linear(text["hidden_size"], embedding, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.trunk = Trunk(vision["trunk"])

    def factor(self) -> Tensor:
        """What cosines are multiplied by."""
        return self.logit_scale.exp().clamp(max=100)

    def tokens(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """The input of the first block, [n, 1 + grid^2, width]."""
        vision = self.vision_model
        features = self.trunk.features(pixels, dtype)
        return vision.pre_layrnorm(vision.embeddings(pixels, features, dtype))

    def blocks(self, tokens: Tensor) -> list[Tensor]:
        """The outputs of all blocks."""
        return self.vision_model.encoder(tokens)

    def image(self, last: Tensor) -> Tensor:
        """The image embedding at unit length, of the last block's output."""
        final = self.vision_model.post_layernorm(last[:, 0])
        return F.normalize(self.visual_projection(final).float(), dim=-1)

    def text(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Text embeddings at unit length. `ids`: [n, tokens], padded with the end token."""
        embeddings, model = self.text_model.embeddings, self.text_model
        positions = embeddings.position_embedding.weight[: ids.shape[1]]
        x = (embeddings.token_embedding(ids) + positions).to(dtype)
        x = model.final_layer_norm(model.encoder(x, causal=True)[-1])
        end = self.config["text_config"]["eos_token_id"]
        last = (ids == end).int().argmax(1)
        picked = x[torch.arange(len(ids)), last]
        return F.normalize(self.text_projection(picked).float(), dim=-1)


class PatchLayers(nn.Module):
    """April-GAN's layers: one linear layer for each of some blocks."""

    def __init__(self, blocks: list[int], embedding: int):
        super().__init__()
        self.blocks = blocks
        self.fc = nn.ModuleList(Linear(WIDTH, embedding) for _ in blocks)

    def forward(self, outputs: list[Tensor]) -> list[Tensor]:
        """The patches of each block in the shared embedding, at unit length."""
        pairs = zip(self.fc, self.blocks, strict=True)
        return [F.normalize(fc(outputs[b - 1][:, 1:]).float(), dim=-1) for fc, b in pairs]


class TrunkLayer(nn.Module):
    """Two layers from the trunk's fine features, and their difference from the photo's mean, into
    the shared embedding."""

    def __init__(self, channels: int, hidden: int, embedding: int):
        super().__init__()
        self.inner, self.outer = Linear(2 * channels, hidden), Linear(hidden, embedding)

    def forward(self, features: Tensor) -> Tensor:
        normed = F.layer_norm(features, features.shape[-1:])
        beside = torch.cat([normed, normed - normed.mean(1, keepdim=True)], -1)
        return F.normalize(self.outer(F.gelu(self.inner(beside))).float(), dim=-1)


def load(folder: Path) -> Hybrid:
    """A model from its folder."""
    model = Hybrid(json.loads((folder / "config.json").read_text()))
    tensors = load_file(folder / "model.safetensors")
    model.trunk.load(tensors)
    rest = {k: v.float() for k, v in tensors.items() if not k.startswith(TRUNK)}
    model.load_state_dict(rest)
    return model


def save(model: Hybrid, start: Path, folder: Path) -> None:
    """Writes a model like the one in `start`: the trunk in float32, the rest in float16."""
    trunk = {k: v for k, v in load_file(start / "model.safetensors").items() if k.startswith(TRUNK)}
    rest = {k: v.half() if v.ndim else v for k, v in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.cpu().contiguous() for k, v in (trunk | rest).items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
