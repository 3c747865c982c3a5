"""Draws a photo beside its map: python python/example.py photo.png "metal nut" map.png"""

import sys

import matplotlib
import numpy as np
from PIL import Image

import blemish

matplotlib.use("Agg")
import matplotlib.pyplot as plt

photo, name, out = sys.argv[1:]
pixels = np.asarray(Image.open(photo).convert("RGB"))
result = blemish.Product(name).score(pixels)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.imshow(pixels)
left.plot(*result.peak, "r+", markersize=14)
right.imshow(result.map, vmin=0, vmax=1, cmap="inferno")
figure.suptitle(f"{name}: score {result.score:.3f}")
[axis.axis("off") for axis in (left, right)]
figure.savefig(out, dpi=120)
