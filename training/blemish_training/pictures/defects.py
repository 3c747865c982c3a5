"""Defects that are painted over a finished picture, one function for each type."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .drawing import (
    FONTS,
    SIDE,
    XX,
    YY,
    Array,
    Rng,
    fractal_noise,
    hsv,
    hsv_within,
    mix,
    noise,
    random_word,
    uniform,
)

# The picture with the defect and a mask of it, or None where the mask is whatever has changed.
Painted = tuple[Array, Array | None]


@dataclass(frozen=True)
class Spot:
    """A place in a picture for a defect; `surface` is whether one material fills the picture."""

    image: Array
    foreground: Array
    x: int
    y: int
    surface: bool
    lots: Rng

    def colour(self) -> Array:
        """The mean colour around the spot."""
        return mean_colour(self.image, self.x, self.y)

    def differing_colour(self, low: float, high: float) -> Array:
        """The colour around the spot, made brighter or darker by `low` to `high`."""
        colour = self.colour()
        change = uniform(self.lots, low, high)
        if colour.mean() < 0.3:
            sign = 1
        elif colour.mean() > 0.75:
            sign = -1
        else:
            sign = 1 if self.lots.random() < 0.4 else -1
        return np.clip(colour + sign * change, 0, 1).astype(np.float32)

    def near(self, reach: float) -> tuple[float, float]:
        """A random place up to `reach` to each side of the spot."""
        x = self.x + uniform(self.lots, -reach, reach)
        return x, self.y + uniform(self.lots, -reach, reach)


def pick_place(foreground: Array, lots: Rng) -> tuple[int, int]:
    """A random pixel (x, y) of the foreground, or the centre if there is hardly any."""
    coarse = foreground[4::8, 4::8] > 0.5
    places = np.flatnonzero(coarse)
    if len(places) == 0:
        return SIDE // 2, SIDE // 2
    row, column = divmod(int(places[lots.integers(len(places))]), coarse.shape[1])
    x = column * 8 + 4 + int(lots.integers(-3, 4))
    return x, row * 8 + 4 + int(lots.integers(-3, 4))


def mean_colour(image: Array, x: int, y: int, reach: int = 9) -> Array:
    """The mean colour of a square around (x, y)."""
    rows = slice(max(0, y - reach), y + reach + 1)
    columns = slice(max(0, x - reach), x + reach + 1)
    return image[rows, columns].reshape(-1, 3).mean(0)


def random_size(lots: Rng, low: float, high: float) -> float:
    """A random size from low to high, where small ones are as likely as large ones."""
    return low * (high / low) ** lots.random()


# Masks


def empty_mask() -> Array:
    """A mask of nothing."""
    return np.zeros((SIDE, SIDE), np.float32)


def random_path(
    lots: Rng, x: float, y: float, length: float, bend: float, steps: int = 12
) -> Array:
    """The points of a wandering line whose middle is at (x, y)."""
    angle = uniform(lots, 0, 6.28)
    points = [(x, y)]
    drift = uniform(lots, -bend, bend) * 0.4
    for _ in range(steps):
        angle += drift + lots.standard_normal() * bend * 0.5
        x += length / steps * math.cos(angle)
        y += length / steps * math.sin(angle)
        points.append((x, y))
    line = np.array(points)
    return line - line.mean(0) + line[0]


def subpixels(points: Array) -> list[Array]:
    """The points in eighths of a pixel, as OpenCV takes them with a shift of 3."""
    return [np.round(points * 8).astype(np.int32)]


def draw_line(mask: Array, points: Array, width: float) -> None:
    """Draws a line on the mask."""
    thickness = max(1, round(width))
    cv2.polylines(mask, subpixels(points), False, 1.0, thickness, cv2.LINE_AA, 3)


def filled(points: Array) -> Array:
    """The mask of a polygon."""
    mask = empty_mask()
    cv2.fillPoly(mask, subpixels(points), 1.0, cv2.LINE_AA, 3)
    return mask


def blob(lots: Rng, x: float, y: float, radius: float, roughness: float = 0.35) -> Array:
    """The mask of a rounded, somewhat flat spot."""
    angles = np.arange(24) / 24 * 6.283
    reach = np.ones(24)
    for wave in (1, 2, 3, 4, 5):
        height = roughness / wave * lots.standard_normal()
        reach += height * np.cos(wave * angles + uniform(lots, 0, 6.28))
    reach = np.clip(reach, 0.35, 1.8) * radius
    flatness = uniform(lots, 0.5, 1)
    turn = uniform(lots, 0, 3.14)
    across = reach * np.cos(angles)
    down = reach * np.sin(angles) * flatness
    points_x = x + across * math.cos(turn) - down * math.sin(turn)
    points_y = y + across * math.sin(turn) + down * math.cos(turn)
    return filled(np.stack([points_x, points_y], 1))


def blurred(mask: Array, width: float) -> Array:
    """The mask, made soft."""
    return cv2.GaussianBlur(mask, (0, 0), width)


def rim(mask: Array) -> Array:
    """A narrow band just outside the mask."""
    return np.clip(blurred(mask, 1.5) - mask, 0, 1)


def slopes(height: Array) -> tuple[Array, Array]:
    """How fast the height grows to the right and downwards."""
    right = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3)
    return right, cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3)


def lit_slope(height: Array, angle: float) -> Array:
    """How much light a surface of this height gains or loses, from -1 to 1."""
    right, down = slopes(height)
    slope = right * math.cos(angle) + down * math.sin(angle)
    return slope / (np.abs(slope).max() + 1e-6)


# Lines


def scratch(spot: Spot) -> Painted:
    """One long scratch, or a few of them."""
    lots = spot.lots
    mask = empty_mask()
    for _ in range(1 if lots.random() < 0.65 else int(lots.integers(2, 5))):
        x, y = spot.near(8)
        line = random_path(lots, x, y, random_size(lots, 18, 150), 0.12)
        draw_line(mask, line, uniform(lots, 1, 2.6))
    mask *= spot.foreground
    strength = uniform(lots, 0.5, 1)
    return mix(spot.image, spot.differing_colour(0.2, 0.6), mask * strength), mask


def crack(spot: Spot) -> Painted:
    """A jagged line with up to three branches."""
    lots = spot.lots
    mask = empty_mask()
    length = random_size(lots, 25, 140)
    line = random_path(lots, spot.x, spot.y, length, 0.9, 16)
    width = uniform(lots, 1, 3)
    draw_line(mask, line, width)
    for _ in range(int(lots.integers(0, 4))):
        x, y = line[lots.integers(len(line))]
        branch = random_path(lots, x, y, length * uniform(lots, 0.2, 0.5), 0.9, 8)
        draw_line(mask, branch, max(1, width * 0.6))
    mask *= spot.foreground
    around = spot.colour()
    colour = around * uniform(lots, 0.05, 0.45)
    if colour.max() < 0.06 and around.max() < 0.2:
        colour = colour + 0.35
    return mix(spot.image, colour.astype(np.float32), mask * uniform(lots, 0.7, 1)), mask


def cut(spot: Spot) -> Painted:
    """A straight slit, wide in the middle, with bright edges."""
    lots = spot.lots
    length = random_size(lots, 18, 90)
    angle = uniform(lots, 0, 6.28)
    width = uniform(lots, 1.5, 5)
    along = np.array([length / 2 * math.cos(angle), length / 2 * math.sin(angle)])
    aside = np.array([width * math.sin(angle), -width * math.cos(angle)])
    middle = np.array([spot.x, spot.y])
    mask = filled(np.stack([middle - along, middle + aside, middle + along, middle - aside]))
    mask *= spot.foreground
    colour = spot.colour()
    colour = colour * uniform(lots, 0, 0.35) if colour.mean() > 0.2 else colour + 0.45
    image = mix(spot.image, colour.astype(np.float32), mask)
    edge = rim(mask)[..., None] * uniform(lots, 0.1, 0.6) * spot.foreground[..., None]
    return np.clip(image + edge, 0, 1), mask


def wrinkle(spot: Spot) -> Painted:
    """A long soft fold."""
    lots = spot.lots
    mask = empty_mask()
    line = random_path(lots, spot.x, spot.y, random_size(lots, 40, 160), 0.25)
    draw_line(mask, line, uniform(lots, 6, 12))
    mask *= spot.foreground
    light = lit_slope(blurred(mask, 2.5), uniform(lots, 0, 6.28))
    light = (1 + uniform(lots, 0.35, 0.7) * light)[..., None]
    return np.clip(spot.image * light, 0, 1), mask


# Holes and missing pieces


def hole(spot: Spot) -> Painted:
    """One large hole."""
    return punched(spot, random_size(spot.lots, 4, 24), 1)


def poke(spot: Spot) -> Painted:
    """Up to three small holes."""
    radius = uniform(spot.lots, 1.8, 4.5)
    return punched(spot, radius, int(spot.lots.integers(1, 4)))


def punched(spot: Spot, radius: float, count: int) -> Painted:
    """Dark holes, or bright ones in a dark surface, with a bright or dark rim."""
    lots = spot.lots
    mask = empty_mask()
    for _ in range(count):
        x, y = spot.near(9)
        if count == 1:
            x, y = spot.x, spot.y
        mask = np.maximum(mask, blob(lots, x, y, radius, 0.15))
    mask *= spot.foreground
    dark = spot.colour().mean() > 0.2
    value = uniform(lots, 0, 0.12) if dark else uniform(lots, 0.5, 0.9)
    image = mix(spot.image, np.full(3, value, np.float32), mask)
    return np.clip(image + rim(mask)[..., None] * uniform(lots, -0.5, 0.5), 0, 1), mask


def chip(spot: Spot) -> Painted | None:
    """A small piece broken off."""
    if spot.surface:
        return broken_surface(spot, random_size(spot.lots, 6, 20), 0.4)
    return broken_edge(spot, 6, 16)


def broken(spot: Spot) -> Painted | None:
    """A large piece broken off."""
    if spot.surface:
        return broken_surface(spot, random_size(spot.lots, 18, 50), 0.5)
    return broken_edge(spot, 18, 55)


def broken_surface(spot: Spot, radius: float, roughness: float) -> Painted:
    """A rough place that is darker or brighter than what is around it."""
    lots = spot.lots
    mask = blob(lots, spot.x, spot.y, radius, roughness)
    grain = fractal_noise(lots, (9, 4), 0.8)
    light = uniform(lots, 0.4, 0.7) if lots.random() < 0.6 else uniform(lots, 1.3, 1.6)
    inside = np.clip(spot.colour() * light * (1 + 0.3 * grain)[..., None], 0, 1)
    return np.clip(mix(spot.image, inside, mask), 0, 1), mask


def broken_edge(spot: Spot, smallest: float, largest: float) -> Painted | None:
    """A piece missing at the object's edge, or None if the object has no edge in the picture."""
    lots = spot.lots
    inside = (spot.foreground > 0.5).astype(np.uint8)
    edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(edge[6:-6, 6:-6])
    if len(rows) == 0:
        return None
    i = lots.integers(len(rows))
    x = int(columns[i]) + 6
    y = int(rows[i]) + 6
    mask = blob(lots, x, y, random_size(lots, smallest, largest), 0.5) * spot.foreground
    if lots.random() < 0.7:
        # What shows there is like the picture's corner, where the background is.
        background = mean_colour(spot.image, 2, 2, 3)
        colour = background * (1 + 0.1 * noise(lots, 4))[..., None]
    else:
        dark = mean_colour(spot.image, x, y) * uniform(lots, 0.3, 0.6)
        colour = np.clip(dark * (1 + 0.3 * noise(lots, 5))[..., None], 0, 1)
    image = mix(spot.image, colour, mask)
    light = (rim(mask) * spot.foreground)[..., None] * uniform(lots, -0.3, 0.6)
    return np.clip(image + light, 0, 1), mask


# Changes of shape


def dent(spot: Spot) -> Painted:
    """A round dent, bright on one side and dark on the other."""
    lots = spot.lots
    radius = random_size(lots, 8, 34)
    height = blurred(blob(lots, spot.x, spot.y, radius, 0.15), max(radius * 0.35, 1.5))
    light = lit_slope(height, uniform(lots, 0, 6.28))
    mask = (height > 0.2).astype(np.float32) * spot.foreground
    factor = 1 + uniform(lots, 0.35, 0.8) * light * spot.foreground
    gloss = 0.12 * (light * spot.foreground)
    return np.clip(spot.image * factor[..., None] + gloss[..., None], 0, 1), mask


def bent(spot: Spot) -> Painted:
    """A region pushed to one side."""
    lots = spot.lots
    radius = random_size(lots, 22, 60)
    right = uniform(lots, -1, 1)
    down = uniform(lots, -1, 1)
    length = math.hypot(right, down) + 1e-6
    reach = radius * uniform(lots, 0.3, 0.5)
    squared_distance = (XX - spot.x) ** 2 + (YY - spot.y) ** 2
    shift = np.exp(-squared_distance / (2 * (radius * 0.5) ** 2)).astype(np.float32) * reach
    from_x = XX + shift * (right / length)
    from_y = YY + shift * (down / length)
    image = cv2.remap(spot.image, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return image, None


# Spots and colours


def stain(spot: Spot) -> Painted:
    """A spot, sometimes with splashes, through which the surface can still be seen."""
    lots = spot.lots
    radius = random_size(lots, 6, 45)
    mask = blob(lots, spot.x, spot.y, radius, 0.4)
    if lots.random() < 0.3:
        for _ in range(int(lots.integers(2, 6))):
            x, y = spot.near(30)
            mask = np.maximum(mask, blob(lots, x, y, radius * uniform(lots, 0.15, 0.4)))
    mask *= spot.foreground
    soft = blurred(mask, uniform(lots, 0.8, 4)) * spot.foreground
    if lots.random() < 0.5:
        colour = spot.differing_colour(0.2, 0.5)
    else:
        colour = hsv(lots.random(), uniform(lots, 0.2, 0.8), uniform(lots, 0.1, 0.7))
    tint = np.clip(colour / (spot.colour() + 0.08), 0.15, 2.2)
    strength = (soft * uniform(lots, 0.6, 0.95))[..., None]
    return np.clip(spot.image * (1 + (tint - 1) * strength), 0, 1), mask


def rust(spot: Spot) -> Painted:
    """A mottled spot from orange to brown."""
    lots = spot.lots
    mask = blob(lots, spot.x, spot.y, random_size(lots, 6, 45), 0.4)
    mask *= spot.foreground
    grain = np.clip(0.6 + 0.5 * fractal_noise(lots, (10, 4, 2), 0.8), 0, 1)
    strength = mask * grain * uniform(lots, 0.7, 1)
    colour = hsv_within(lots, (0.02, 0.08), (0.6, 0.9), (0.25, 0.6))
    return mix(spot.image, colour, strength), mask


def discoloration(spot: Spot) -> Painted:
    """A soft spot of another hue."""
    lots = spot.lots
    mask = blob(lots, spot.x, spot.y, random_size(lots, 6, 45), 0.4)
    mask *= spot.foreground
    soft = blurred(mask, uniform(lots, 1, 5)) * spot.foreground
    hue, saturation, value = cv2.split(cv2.cvtColor(spot.image, cv2.COLOR_RGB2HSV))
    hue = (hue + uniform(lots, 40, 320)) % 360
    factor = uniform(lots, 0.3, 1.6)
    saturation = np.clip(saturation * factor + uniform(lots, 0.05, 0.35), 0, 1)
    value = np.clip(value * uniform(lots, 0.75, 1.3), 0, 1)
    other = cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)
    return mix(spot.image, other, soft), mask


def glue(spot: Spot) -> Painted:
    """A glossy, slightly yellow spot."""
    lots = spot.lots
    mask = blob(lots, spot.x, spot.y, random_size(lots, 6, 45), 0.2)
    mask *= spot.foreground
    right, down = slopes(blurred(mask, 3))
    gloss = (right + down) * mask
    colour = hsv_within(lots, (0.08, 0.2), (0, 0.4), (0.7, 1))
    image = mix(spot.image, colour, mask * uniform(lots, 0.3, 0.6))
    return np.clip(image + 0.35 * gloss[..., None], 0, 1), mask


def contamination(spot: Spot) -> Painted:
    """A few hairs or up to eight crumbs, which may also lie beside the object."""
    lots = spot.lots
    mask = empty_mask()
    colour = hsv(lots.random(), uniform(lots, 0, 0.9), uniform(lots, 0.05, 1))
    if abs(colour.mean() - spot.colour().mean()) < 0.2:
        colour = spot.differing_colour(0.3, 0.6)
    if lots.random() < 0.5:
        for _ in range(int(lots.integers(1, 4))):
            x, y = spot.near(6)
            hair = random_path(lots, x, y, random_size(lots, 20, 90), 0.7, 14)
            draw_line(mask, hair, uniform(lots, 1, 2.4))
        return mix(spot.image, colour, mask), mask
    for _ in range(int(lots.integers(1, 9))):
        x, y = spot.near(18)
        mask = np.maximum(mask, blob(lots, x, y, random_size(lots, 2, 9), 0.4))
    crumbs = np.clip(colour * (1 + 0.2 * noise(lots, 3))[..., None], 0, 1)
    return mix(spot.image, crumbs, mask), mask


def patch(spot: Spot) -> Painted:
    """A piece of the picture itself, turned, scaled and with another brightness."""
    lots = spot.lots
    width = int(random_size(lots, 14, 60))
    height = int(random_size(lots, 14, 60))
    if lots.random() < 0.5:
        corners = cv2.boxPoints(((spot.x, spot.y), (width, height), uniform(lots, 0, 90)))
        mask = empty_mask()
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1.0)
    else:
        mask = blob(lots, spot.x, spot.y, (width + height) / 3, 0.2)
    mask = mask * spot.foreground
    centre = (SIDE / 2, SIDE / 2)
    angle = uniform(lots, 30, 150)
    matrix = cv2.getRotationMatrix2D(centre, angle, uniform(lots, 0.7, 1.5))
    matrix[:, 2] += lots.uniform(-40, 40, 2)
    other = cv2.warpAffine(spot.image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    other = other * uniform(lots, 0.6, 1.4) + uniform(lots, -0.1, 0.1)
    return np.clip(mix(spot.image, other, mask), 0, 1), mask


def misprint(spot: Spot) -> Painted:
    """A word printed where none belongs."""
    lots = spot.lots
    word = random_word(lots, int(lots.integers(2, 6)))
    font = FONTS[lots.integers(len(FONTS))]
    scale = uniform(lots, 0.6, 1.3)
    thickness = int(lots.integers(1, 3))
    stamp = np.zeros((SIDE, SIDE), np.uint8)
    origin = (spot.x - 20, spot.y + 8)
    cv2.putText(stamp, word, origin, font, scale, 255, thickness, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((spot.x, spot.y), uniform(lots, 0, 360), 1)
    mask = cv2.warpAffine(stamp.astype(np.float32) / 255, turn, (SIDE, SIDE)) * spot.foreground
    return mix(spot.image, spot.differing_colour(0.3, 0.6), mask * 0.9), None


PAINTERS: dict[str, Callable[[Spot], Painted | None]] = {
    "scratch": scratch,
    "crack": crack,
    "hole": hole,
    "dent": dent,
    "stain": stain,
    "contamination": contamination,
    "discoloration": discoloration,
    "patch": patch,
    "cut": cut,
    "poke": poke,
    "rust": rust,
    "chip": chip,
    "broken": broken,
    "bent": bent,
    "wrinkle": wrinkle,
    "glue": glue,
    "misprint": misprint,
}

# The order matters, as the defects are chosen by number.
SURFACE_DEFECTS = tuple(PAINTERS)
OBJECT_DEFECTS = tuple(name for name in PAINTERS if name not in ("wrinkle", "misprint"))


def paint_defect(
    image: Array, foreground: Array, defect: str, lots: Rng, surface: bool
) -> tuple[Array, Array] | None:
    """The picture with a defect painted on it and its mask, or None where there is no room."""
    x, y = pick_place(foreground, lots)
    painted = PAINTERS[defect](Spot(image, foreground, x, y, surface, lots))
    if painted is None:
        return None
    other, mask = painted
    if mask is None:
        # What is pushed aside changes mostly at its edges, so wider gaps are closed there.
        mask = changed_area(image, other, gap=15 if defect == "bent" else 5)
    return other, mask


def changed_area(image: Array, other: Array, gap: int = 5) -> Array:
    """The mask of all that differs clearly, with small gaps closed."""
    changed = (np.abs(image - other).max(2) > 0.06).astype(np.uint8)
    closed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((gap, gap), np.uint8))
    return closed.astype(np.float32)


def usable_mask(image: Array, other: Array, mask: Array, contrast: float) -> Array | None:
    """The mask as zeros and ones, or None if the defect is too small or too faint to be seen."""
    mask = (mask > 0.3).astype(np.uint8)
    if mask.sum() < 14:
        return None
    if np.abs(other - image).max(2)[mask > 0].mean() <= contrast:
        return None
    return mask
