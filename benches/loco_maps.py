"""Maps of MVTec LOCO's real size, measured by `blemish eval maps` and by MVTec's own script, side by side.

    cargo build --release
    python benches/loco_maps.py --script mvtec_loco_ad_evaluation/     # from MVTec's site; without it, blemish alone
    python benches/loco_maps.py --photos 341 --size 1600x1100         # as many pixels as its largest product

Needs numpy, pillow and tifffile. Prints seconds, the ratio, blemish's peak memory and the largest difference of a number.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

PRODUCT = "pushpins"  # the script knows MVTec's names only
KINDS = {"good": 2, "logical_anomalies": 4, "structural_anomalies": 4}


def make(root: Path, photos: int, width: int, height: int):
    """Smooth random maps with a little noise; a third more in one round region of the defective ones."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    product = root / "data" / PRODUCT
    product.mkdir(parents=True)
    config = [
        {"defect_name": "a", "pixel_value": 255, "saturation_threshold": 6300, "relative_saturation": False},
        {"defect_name": "b", "pixel_value": 254, "saturation_threshold": 1.0, "relative_saturation": True},
    ]
    (product / "defects_config.json").write_text(json.dumps(config))
    for kind, share in KINDS.items():
        maps = root / "maps" / PRODUCT / "test" / kind
        maps.mkdir(parents=True)
        (product / "test" / kind).mkdir(parents=True)
        for i in range(photos // share):
            coarse = Image.fromarray(rng.random((40, 40), dtype=np.float32))
            scores = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
            scores = scores + rng.random((height, width), dtype=np.float32) * np.float32(1e-3)
            Image.new("L", (width, height)).save(product / "test" / kind / f"{i:03}.png")
            if kind != "good":
                at = rng.integers(100, (width - 200, height - 200))
                region = np.hypot(x - at[0], y - at[1]) < rng.integers(20, 80)
                truth = product / "ground_truth" / kind / f"{i:03}"
                truth.mkdir(parents=True)
                value = 255 if kind.startswith("logical") else 254
                Image.fromarray((region * value).astype(np.uint8)).save(truth / "000.png")
                scores = scores + region.astype(np.float32) * np.float32(0.3)
            tifffile.imwrite(maps / f"{i:03}.tiff", scores.astype(np.float32))


def timed(command, **more):
    start = time.perf_counter()
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blemish", type=Path, default=Path("target/release/blemish"))
    parser.add_argument("--script", type=Path, help="the folder of MVTec's evaluate_experiment.py")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--size", default="1700x1000")
    parser.add_argument("--workers", type=int, default=2, help="processes of MVTec's script")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, args.photos, width, height)
        data, maps = root / "data", root / "maps"
        ours, printed = timed(
            [args.blemish, "eval", "maps", "loco", data, "--maps", maps, "--curve", "official", "--format", "json", "-q"]
        )
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"blemish: {args.photos} maps of {args.size}: {ours:.1f} s, {peak:.2f} GiB at most")
        if args.script is None:
            return
        # Its default is the lowest priority and one process.
        options = ["--object_name", PRODUCT, "--dataset_base_dir", data, "--anomaly_maps_dir", maps]
        options += ["--output_dir", root / "out", "--niceness", 0, "--num_parallel_workers", args.workers]
        command = [sys.executable, "evaluate_experiment.py", *options]
        theirs, _ = timed(command, cwd=args.script)
        product = json.loads(printed)["products"][0]
        official = json.loads((root / "out/metrics.json").read_text())["localization"]["auc_spro"]["mean"]
        worst = max(abs(value - product["au_pro"][limit]) for limit, value in official.items())
        print(f"MVTec's script, {args.workers} processes: {theirs:.1f} s: {theirs / ours:.1f}x; numbers differ by {worst:.1e}")


main()
