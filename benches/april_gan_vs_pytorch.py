"""April-GAN zero-shot on ViT-L-14-336 at 518x518, blemish against PyTorch, side by side in one run on this machine's CPU:
PyTorch in float32 and under bfloat16 autocast, blemish in float32 and in fast mode.

Both get the same full-size random weights (the published ones need a network; speed does not depend on them), random
adapters for blocks 6, 12, 18 and 24, the same photo, the same words and the same number of threads, and take turns.
Prints one JSON object: median seconds per photo, the ratios, blemish's memory, and how far the results are apart.

  python3 -m venv venv && venv/bin/pip install torch==2.15.0 open_clip_torch==3.3.0 safetensors pillow tokenizers numpy
  cargo build --release
  venv/bin/python benches/april_gan_vs_pytorch.py [--rounds 5] [--threads 2] [--checkpoint DIR]
"""
import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
NAME, SIZE, BLOCKS = "ViT-L-14-336", 518, (6, 12, 18, 24)
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def checkpoint(folder):
    """A full-size checkpoint in open_clip's layout with an adapter, made once. Exact GELU, as April-GAN runs it."""
    weights = folder / "open_clip_model.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        folder.mkdir(parents=True, exist_ok=True)
        model = open_clip.create_model(NAME, pretrained=None)
        state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}
        save_file(state, weights, metadata={"format": "pt"})
        config = {"model_cfg": open_clip.get_model_config(NAME), "preprocess_cfg": {"mean": MEAN, "std": STD}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        layers = {}
        for i in range(len(BLOCKS)):
            linear = torch.nn.Linear(1024, 768)
            layers |= {f"fc.{i}.weight": linear.weight.data, f"fc.{i}.bias": linear.bias.data}
        torch.save({"trainable_linearlayer": layers}, folder / "adapter.pth")
    # Random weights need no real vocabulary.
    (folder / "tokenizer.json").write_bytes((ROOT / "tests/fixtures/clip/hf/tokenizer.json").read_bytes())
    model = open_clip.create_model(NAME, pretrained=None, force_image_size=SIZE).eval()
    state = load_file(weights)
    open_clip.model.resize_pos_embed(state, model)
    model.load_state_dict(state, strict=False)
    return model, torch.load(folder / "adapter.pth")["trainable_linearlayer"]


def words(model, tokenizer):
    toml = (ROOT / "prompts/april_gan.toml").read_text()
    lists = {k: re.findall(r'^ +"(.*)",$', v, re.M) for k, v in re.findall(r"^(\w+) = \[\n(.*?)^\]", toml, re.M | re.S)}
    sets = []
    for states in (lists["normal"], lists["anomalous"]):
        texts = [t.replace("{}", s.replace("{}", "wood")) for s in states for t in lists["templates"]]
        ids = torch.tensor([e.ids for e in tokenizer.encode_batch(texts)])
        sets.append(F.normalize(F.normalize(model.encode_text(ids), dim=-1).mean(0), dim=-1))
    return torch.stack(sets, 1)


def april_gan(model, adapter, text, pixels):
    v = model.visual
    h = v.conv1(pixels).flatten(2).transpose(1, 2)
    h = v.ln_pre(torch.cat([v.class_embedding.expand(1, 1, -1), h], 1) + v.positional_embedding)
    grid, total, k = SIZE // 14, 0, 0
    for i, block in enumerate(v.transformer.resblocks, 1):
        h = block(h)
        if i in BLOCKS:
            z = F.normalize(F.linear(h[:, 1:], adapter[f"fc.{k}.weight"], adapter[f"fc.{k}.bias"]), dim=-1)
            logits = (100 * z @ text).transpose(1, 2).reshape(1, 2, grid, grid)
            total = total + F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=True).softmax(1)[:, 1]
            k += 1
    image = F.normalize(v.ln_post(h[:, 0]) @ v.proj, dim=-1)
    return (100 * image @ text).softmax(-1)[0, 1], total[0]


parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "blemish-bench" / NAME)
args = parser.parse_args()
torch.set_num_threads(args.threads)

with tempfile.TemporaryDirectory() as work, torch.no_grad():
    model, adapter = checkpoint(args.checkpoint)
    tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
    tokenizer.enable_padding(length=77, pad_id=0)
    text = words(model, tokenizer)
    work = Path(work)
    photo = Image.open(ROOT / "examples/pictures/wood/hole.png").convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)
    # The same photo twice: the first of a run also pays for the first touch of the memory.
    files = [work / "1.png", work / "2.png"]
    for file in files:
        photo.save(file)
    pixels = torch.tensor(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    pixels = (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    command = [ROOT / "target/release/blemish", "score", *files, "--product", "wood", "--model", args.checkpoint,
               "--method", "april-gan", "--adapter", args.checkpoint / "adapter.pth", "--threads", str(args.threads),
               "--quiet", "--save-map", "--format", "jsonl"]

    def score(precision):
        words = [*command, "--precision", precision, "--out", work / precision]
        rows = subprocess.check_output(list(map(str, words))).splitlines()
        row = json.loads(rows[1])
        return row["milliseconds"] / 1e3, row["score"], np.array(Image.open(row["map"])) * len(BLOCKS)

    def memory(precision):
        words = [command[0], "bench", files[0], *command[4:-3], "--precision", precision, "--rounds", 1, "--format", "json"]
        return json.loads(subprocess.check_output(list(map(str, words))))["peak_memory"] // 1000000

    times = {name: [] for name in ("PyTorch f32", "PyTorch bf16", "blemish f32", "blemish fast")}
    for i in range(args.rounds + 1):
        for name, dtype in (("PyTorch bf16", torch.bfloat16), ("PyTorch f32", None)):
            with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                start = time.perf_counter()
                result, map_ = april_gan(model, adapter, text, pixels)
                times[name].append(time.perf_counter() - start)
        fast, full = score("fast"), score("f32")
        times["blemish fast"].append(fast[0])
        times["blemish f32"].append(full[0])
        print(f"round {i}: " + ", ".join(f"{n} {t[-1]:.2f} s" for n, t in times.items()), file=sys.stderr)
    # The first round pays for the first touch of the memory.
    median = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    ranks = [np.argsort(np.argsort(m.ravel())) for m in (fast[2], full[2])]
    print(json.dumps({
        "threads": args.threads,
        "median_s": {name: round(seconds, 3) for name, seconds in median.items()},
        "f32_ratio": round(median["PyTorch f32"] / median["blemish f32"], 2),
        "fast_ratio_to_bf16": round(median["PyTorch bf16"] / median["blemish fast"], 2),
        "fast_ratio_to_f32": round(median["PyTorch f32"] / median["blemish fast"], 2),
        "memory_mb": {"f32": memory("f32"), "fast": memory("fast")},
        "largest_map_difference": float(np.abs(full[2] - map_.numpy()).max()),
        "score_difference": abs(full[1] - float(result)),
        "fast_score_difference": abs(fast[1] - full[1]),
        "fast_map_rank_correlation": float(np.corrcoef(ranks)[0, 1]),
    }))
