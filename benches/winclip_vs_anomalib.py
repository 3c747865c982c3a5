"""WinCLIP zero-shot, blemish against anomalib 2.7.0, side by side in one run on this machine's CPU.

Both get the same full-size ViT-B-16-plus-240 with random weights (the published ones need a network; speed does not
depend on them), the same photo, the same prompts and the same number of threads, and take turns. Prints one JSON
object: median seconds per photo, their ratio, and how far the two results are apart.

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
    command = [ROOT / "target/release/blemish", "score", *files, "--product", "wood", "--model", args.checkpoint,
               "--threads", str(args.threads), "--out", work / "out", "--save-map", "--quiet"]
    theirs, ours = [], []
    with torch.no_grad():
        anomalib.setup("wood")
        anomalib(pixels)
        for i in range(args.rounds):
            start = time.perf_counter()
            result = anomalib(pixels)
            theirs.append(time.perf_counter() - start)
            rows = [json.loads(line) for line in subprocess.check_output(list(map(str, command))).splitlines()]
            ours.append(rows[1]["milliseconds"] / 1e3)
            print(f"round {i + 1}: anomalib {theirs[-1]:.2f} s, blemish {ours[-1]:.2f} s", file=sys.stderr)
    map_ = np.array(Image.open(rows[1]["map"]))
    print(json.dumps({
        "threads": args.threads,
        "anomalib_median_s": round(statistics.median(theirs), 3),
        "blemish_median_s": round(statistics.median(ours), 3),
        "ratio": round(statistics.median(theirs) / statistics.median(ours), 3),
        "largest_map_difference": float(np.abs(map_ - result.anomaly_map[0].numpy()).max()),
        "score_difference": abs(rows[1]["score"] - float(result.pred_score[0])),
    }))
