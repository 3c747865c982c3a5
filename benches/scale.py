"""How blemish's time and memory grow with the number of photos, their size and the number of references.

Photos are made (noise and shapes, all different). Each row is one run of the program. The exponent of a row is that of
the growth since the row before: 1 is linear. Prints a table in Markdown.

  python3 -m venv venv && venv/bin/pip install pillow numpy
  cargo build --release
  venv/bin/python benches/scale.py [--photos 10,100,1000,10000] [--megapixels 0.5,5,50] [--references 1,10,100,1000]
"""
import argparse
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PROGRAM = Path(__file__).resolve().parent.parent / "target/release/blemish"


def make(folder, count, width, height):
    """`count` different photos."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(width)
    noise = Image.fromarray(random.integers(96, 160, (height // 4, width // 4, 3), dtype=np.uint8)).resize((width, height))
    for i in range(count):
        photo = noise.rotate(i % 4 * 90).resize((width, height))
        x, y = random.integers(0, width), random.integers(0, height)
        ImageDraw.Draw(photo).ellipse((x, y, x + width // 9, y + height // 9), fill=(i % 256, i // 256, 90))
        photo.save(folder / f"{i:05}.jpg", quality=90)
    return folder


def run(*words):
    """Seconds and megabytes of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in (PROGRAM, *words, "--quiet")], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    return time.perf_counter() - start, usage.ru_maxrss / 1e3


def table(title, unit, sizes, measure):
    print(f"\n| {unit} | {title}: s | exponent | MB | exponent |\n|---|---|---|---|---|", flush=True)
    before = None
    for size in sizes:
        now = (size, *measure(size))
        exponents = ["", ""]
        if before:
            step = math.log(now[0] / before[0])
            exponents = [f"{math.log(b / a) / step:.2f}" for a, b in zip(before[1:], now[1:])]
        print(f"| {size:g} | {now[1]:.1f} | {exponents[0]} | {now[2]:.0f} | {exponents[1]} |", flush=True)
        before = now


def numbers(text):
    return [float(number) for number in text.split(",")]


parser = argparse.ArgumentParser()
parser.add_argument("--photos", type=numbers, default=[10, 100, 1000, 10000])
parser.add_argument("--megapixels", type=numbers, default=[0.5, 5, 50])
parser.add_argument("--references", type=numbers, default=[1, 10, 100, 1000])
args = parser.parse_args()

with tempfile.TemporaryDirectory() as work:
    work = Path(work)
    for method in ("april-gan", "auto"):
        def photos(count):
            folder = work / f"photos-{count:g}"
            folder = folder if folder.exists() else make(folder, int(count), 320, 240)
            return run("score", folder, "--product", "part", "--method", method)

        table(f"`score --method {method}`", "photos", args.photos, photos)

    def megapixels(size):
        width = int(math.sqrt(size * 4 / 3) * 1000)
        folder = make(work / f"size-{size:g}", 8, width, width * 3 // 4)
        return run("score", folder, "--product", "part", "--method", "april-gan", "--out", work / "out")

    table("8 photos, `score --out`", "megapixels", args.megapixels, megapixels)
    few = make(work / "few", 20, 320, 240)
    for reference_method in ("april-gan", "patchcore"):
        def references(count):
            folder = work / f"references-{count:g}"
            folder = folder if folder.exists() else make(folder, int(count), 320, 240)
            profile = work / f"{reference_method}-{count:g}.blemish"
            return run("enroll", "--reference", folder, "--product", "part", "--reference-method", reference_method, "-o", profile)

        table(f"`enroll`, {reference_method}", "references", args.references, references)
        table(f"`score` of 20 photos, {reference_method}", "references", args.references,
              lambda count: run("score", few, "--profile", work / f"{reference_method}-{count:g}.blemish"))
