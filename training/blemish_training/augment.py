"""Changes that leave a defect a defect: turns, crops, light and colours, drawn anew every time."""

from __future__ import annotations

import cv2
import numpy as np

from .pictures.drawing import SIDE


def turned(image: np.ndarray, lots: np.random.Generator) -> tuple[np.ndarray, int]:
    """One of the eight turns and flips, and its number."""
    turn = int(lots.integers(8))
    return flipped(image, turn), turn


def flipped(image: np.ndarray, turn: int) -> np.ndarray:
    """A turn by its number: 1 flips, 2 and 4 rotate by 90 and 180 degrees."""
    if turn & 1:
        image = image[:, ::-1]
    return np.ascontiguousarray(np.rot90(image, turn >> 1))


def crop(lots: np.random.Generator) -> np.ndarray:
    """A rotation, zoom and shift, as a matrix for OpenCV."""
    zoom = np.exp(lots.uniform(-0.2, 0.6))
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), lots.uniform(-25, 25), zoom)
    room = SIDE / 2 * max(0, zoom - 1) * 0.8
    matrix[:, 2] += lots.uniform(-1, 1, 2) * room + lots.uniform(-8, 8, 2)
    return matrix


def tone(lots: np.random.Generator) -> np.ndarray:
    """A table of new values per channel: light, contrast, gamma, colour cast, seldom a negative."""
    values = np.arange(256, dtype=np.float32) / 255
    gain = lots.uniform(0.75, 1.25) * (1 + 0.1 * lots.standard_normal(3))
    contrast, gamma = lots.uniform(0.75, 1.25), np.exp(lots.uniform(-0.25, 0.25))
    curve = np.clip((values**gamma - 0.5) * contrast + 0.5, 0, 1)
    table = curve[:, None] * gain[None]
    if lots.random() < 0.03:
        table = 1 - table
    return (np.clip(table, 0, 1) * 255).astype(np.uint8).reshape(256, 1, 3)


def camera(picture: np.ndarray, lots: np.random.Generator) -> np.ndarray:
    """Blur, sensor noise and JPEG artefacts."""
    if lots.random() < 0.15:
        picture = cv2.GaussianBlur(picture, (0, 0), lots.uniform(0.4, 1.3))
    if lots.random() < 0.15:
        noise = lots.standard_normal(picture.shape, dtype=np.float32) * lots.uniform(1, 6)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if lots.random() < 0.1:
        quality = int(lots.uniform(40, 95))
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, [1, quality])[1], 1)
    return picture


def augmented(
    picture: np.ndarray, mask: np.ndarray, lots: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A picture [side, side, 3] and its mask [side, side], changed at random."""
    picture, turn = turned(picture, lots)
    mask = flipped(mask, turn)
    if lots.random() < 0.55:
        matrix, size = crop(lots), (SIDE, SIDE)
        edge = cv2.BORDER_REFLECT
        picture = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=edge)
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST, borderMode=edge)
    picture = camera(cv2.LUT(picture, tone(lots)), lots)
    if lots.random() < 0.2:
        picture = picture[..., lots.permutation(3)]
    if lots.random() < 0.2:
        grey = picture.mean(2, keepdims=True).astype(np.uint8)
        picture = np.repeat(grey, 3, axis=2)
    return np.ascontiguousarray(picture), mask


def coverage(mask: np.ndarray, grid: int) -> np.ndarray:
    """The defective share of each patch, [grid, grid]."""
    patch = mask.shape[0] // grid
    return mask.reshape(grid, patch, grid, patch).mean((1, 3), dtype=np.float32)
