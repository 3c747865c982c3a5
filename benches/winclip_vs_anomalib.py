"""WinCLIP zero-shot, blemish against anomalib 2.7.0, side by side in one run on this machine's CPU.

Both get the same full-size ViT-B-16-plus-240 with random weights (the published ones need a network; speed does not
depend on them), the same photo, the same prompts and the same number of threads, and take turns: anomalib in float32
and under bfloat16 autocast, blemish in float32 and in fast mode. Prints one JSON object: median seconds per photo and
for the prompts of a product, the ratios, and how far the results are apart.

anomalib's window pass is put right first: with open_clip >= 2.26 it attends across windows instead of across a
window's tokens (its issue 2571), at the same cost.

  python3 -m venv venv && venv/bin/pip install torch==2.15.0 open_clip_torch==3.3.0 anomalib==2.7.0 safetensors pillow
  cargo build --release
  venv/bin/python benches/winclip_vs_anomalib.py [--rounds 5] [--threads 2] [--checkpoint DIR]
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anomalib.models.image.winclip.torch_model as winclip
import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
NAME = "ViT-B-16-plus-240"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def window_embeddings(self, feature_map, masks):
    photos, windows = feature_map.shape[0], masks.shape[1]
    rows = torch.cat((torch.zeros(1, windows, dtype=int), masks + 1)).T
    tokens = torch.cat([torch.index_select(feature_map, 1, row) for row in rows])
    visual = self.clip.visual
    tokens = visual.ln_post(visual.transformer(visual.ln_pre(tokens)))
    return (tokens[:, 0] @ visual.proj).reshape(windows, photos, -1).permute(1, 0, 2)


def checkpoint(folder):
    """A full-size checkpoint in open_clip's layout, made once."""
    weights = folder / "open_clip_model.safetensors"
    model = open_clip.create_model(NAME, pretrained=None).eval()
    if not weights.exists():
        torch.manual_seed(0)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}
        save_file(state, weights, metadata={"format": "pt"})
        config = {"model_cfg": open_clip.get_model_config(NAME), "preprocess_cfg": {"mean": MEAN, "std": STD}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    # Random weights need no real vocabulary.
    (folder / "tokenizer.json").write_bytes((ROOT / "tests/fixtures/clip/hf/tokenizer.json").read_bytes())
    model.load_state_dict(load_file(weights), strict=False)
    return model


parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "blemish-bench" / NAME)
args = parser.parse_args()
torch.set_num_threads(args.threads)

model = checkpoint(args.checkpoint)
tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
tokenizer.enable_padding(length=77, pad_id=0)
winclip.WinClipModel._get_window_embeddings = window_embeddings
winclip.tokenize = lambda texts: torch.tensor([e.ids for e in tokenizer.encode_batch(texts)])
winclip.open_clip.create_model_and_transforms = lambda *_, **__: (model, None, None)

with tempfile.TemporaryDirectory() as work:
    work = Path(work)
    photo = Image.open(ROOT / "examples/pictures/wood/hole.png").convert("RGB").resize((240, 240), Image.BICUBIC)
    # The same photo twice: the first of a run also pays for the first touch of the memory.
    files = [work / "1.png", work / "2.png"]
    for file in files:
        photo.save(file)
    pixels = torch.tensor(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    pixels = (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    anomalib = winclip.WinClipModel().eval()
    blemish = [ROOT / "target/release/blemish"]
    model = ["--model", args.checkpoint, "--threads", args.threads, "--product", "wood", "--quiet"]

    def run(*words):
        return subprocess.check_output(list(map(str, [*blemish, *words, *model]))).splitlines()

    def score(precision):
        rows = run("score", *files, "--precision", precision, "--out", work / precision, "--save-map")
        row = json.loads(rows[1])
        return row["milliseconds"] / 1e3, row["score"], np.array(Image.open(row["map"]))

    times = {name: [] for name in ("anomalib f32", "anomalib bf16", "blemish f32", "blemish fast")}
    with torch.no_grad():
        start = time.perf_counter()
        anomalib.setup("wood")
        prompts = time.perf_counter() - start
        for i in range(args.rounds + 1):
            for name, dtype in (("anomalib bf16", torch.bfloat16), ("anomalib f32", None)):
                with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                    start = time.perf_counter()
                    result = anomalib(pixels)
                    times[name].append(time.perf_counter() - start)
            fast, full = score("fast"), score("f32")
            times["blemish fast"].append(fast[0])
            times["blemish f32"].append(full[0])
            print(f"round {i}: " + ", ".join(f"{n} {t[-1]:.2f} s" for n, t in times.items()), file=sys.stderr)
    # The first round pays for the first touch of the memory.
    median = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    own_prompts = json.loads(run("bench", *files, "--method", "winclip", "--rounds", 1, "--format", "json")[0])["prompts"] / 1e3
    ranks = [np.argsort(np.argsort(m.ravel())) for m in (fast[2], full[2])]
    print(json.dumps({
        "threads": args.threads,
        "median_s": {name: round(seconds, 3) for name, seconds in median.items()},
        "f32_ratio": round(median["anomalib f32"] / median["blemish f32"], 2),
        "fast_ratio_to_bf16": round(median["anomalib bf16"] / median["blemish fast"], 2),
        "fast_ratio_to_f32": round(median["anomalib f32"] / median["blemish fast"], 2),
        "prompts_s": {"anomalib": round(prompts, 2), "blemish": round(own_prompts, 2)},
        "largest_map_difference": float(np.abs(full[2] - result.anomaly_map[0].numpy()).max()),
        "score_difference": abs(full[1] - float(result.pred_score[0])),
        "fast_score_difference": abs(fast[1] - full[1]),
        "fast_map_rank_correlation": float(np.corrcoef(ranks)[0, 1]),
    }))
