"""A contact sheet: held-out pictures beside their maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from . import held_out, model
from .evaluate import joined, measure, outputs
from .export import load_adapter
from .losses import Tokens
from .pictures.families import FAMILIES, HELD_OUT

TILE, ROW, LINE = 144, 3, 18
"""Side of a picture, families in a row, height of a line of text, in pixels."""


def heat(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map over a pale picture: 0 is the picture alone, 1 is full colour."""
    grey = np.repeat(picture.mean(2, keepdims=True) * 0.5 + 110, 3, axis=2)
    values = cv2.resize(values, picture.shape[:2], interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = values[..., None] ** 0.5
    return (grey * (1 - share) + colours * share).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture with the true defect in a green outline."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(picture), contours, -1, (0, 255, 0), 1)


def write(path: Path, folder: Path) -> None:
    """Writes the sheet for the model in `folder`: of each held-out family the first good and the
    first defective picture. The figures are image and pixel AUROC of the product's 20 pictures."""
    net = model.load(folder)
    layers, trunk_layer = load_adapter(folder, net)
    tokens = Tokens(folder, net.config["text_config"]["max_position_embeddings"])
    cells = []
    for family in HELD_OUT:
        judged = held_out.drawn(family, 0)[1]
        found = outputs(net, layers, trunk_layer, judged, tokens)
        maps, measures = joined(found), measure(found, judged)
        tiles = []
        for i in (0, int(np.argmax(judged.defects > 0))):
            picture = judged.pictures[i]
            tiles += [outlined(picture, judged.masks[i]), heat(picture, maps[i])]
        tiles = [cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_AREA) for tile in tiles]
        text = np.full((LINE, 4 * TILE, 3), 255, np.uint8)
        figures = f"{measures['class']:.2f} / {measures['blocks pixel']:.2f}"
        line = f"{FAMILIES[family].names[0]}: {figures}"
        cv2.putText(text, line, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        cells.append(np.vstack([text, np.hstack(tiles)]))
    assert len(cells) % ROW == 0, "full rows"
    rows = [np.hstack(cells[i : i + ROW]) for i in range(0, len(cells), ROW)]
    if not cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82]):
        raise OSError(f"{path}: cannot write")
