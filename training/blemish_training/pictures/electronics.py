"""Electrical parts: connectors, cables and components."""

import math

import numpy as np

from .drawing import (
    Rng,
    contrasting_colour,
    draw_text,
    hsv_within,
    metal_colour,
    noise,
    random_colour,
    random_sign,
    segment,
    uniform,
)
from .objects import Drawn, around
from .textures import new_canvas


def connector(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """One or two rows of pins in a frame."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    colour = random_colour(product, 0.05, 0.9)
    pin_colour = hsv_within(product, (0.08, 0.15), (0, 0.7), (0.6, 0.95))
    columns = int(product.integers(4, 9))
    rows = int(product.integers(1, 3))
    height = 0.28 if rows == 1 else 0.42
    frame = canvas.box(0, 0, 0.9, height, 0.06)
    canvas.fill(frame, colour, bevel=6, texture=0.03 * noise(picture, 3))
    canvas.fill(canvas.box(0, 0, 0.82, height - 0.08, 0.04), colour * 0.6, foreground=False)
    faulty = lots.integers(columns * rows) if defect else None
    spacing = 1.5 / columns
    for i in range(columns * rows):
        if defect == "missing" and i == faulty:
            continue
        row, column = divmod(i, columns)
        x = -0.75 + spacing * (column + 0.5)
        y = 0 if rows == 1 else -0.18 + 0.36 * row
        lean = 0
        if defect == "bent" and i == faulty:
            lean = spacing * uniform(lots, 0.35, 0.5) * random_sign(lots)
        pin = canvas.segment(x, y + 0.1, x + lean, y - 0.1, spacing * 0.16)
        canvas.fill(pin, pin_colour, bevel=4)
    return canvas.out()


def cable(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """The cross section of a cable with two to five insulated copper wires."""
    canvas = new_canvas(product, picture, 0.75, 1)
    sheath = random_colour(product, 0.05, 0.9)
    filling = contrasting_colour(product, sheath, 0.25)
    count = int(product.integers(2, 6))
    canvas.fill(canvas.circle(0, 0, 0.88), sheath, bevel=8, texture=0.03 * noise(picture, 4))
    canvas.fill(canvas.circle(0, 0, 0.76), filling * 0.9, texture=0.04 * noise(picture, 3))
    colours = [random_colour(product, 0.2, 0.9, 0.1) for _ in range(count)]
    copper = hsv_within(product, (0.05, 0.12), (0.4, 0.7), (0.6, 0.9))
    # The largest radius at which the wires still fit side by side, less a little play.
    radius = 0.76 / (1 + 1 / math.sin(math.pi / count)) * 0.95
    faulty = lots.integers(count) if defect else None
    if defect == "wrong":
        colours[faulty] = contrasting_colour(lots, colours[faulty], 0.25)
    for i, (x, y) in enumerate(around(count, 0.74 - radius)):
        if defect == "missing" and i == faulty:
            canvas.fill(canvas.circle(x, y, radius), filling * 0.3)
            continue
        canvas.fill(canvas.circle(x, y, radius), colours[i], bevel=6)
        strands = noise(np.random.default_rng(int(picture.integers(1 << 30))), 4)
        canvas.fill(canvas.circle(x, y, radius * 0.68), copper, texture=0.35 * strands)
    return canvas.out()


def transistor(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A printed case with two or three legs."""
    canvas = new_canvas(product, picture, 0.75, 1, aligned=True)
    colour = random_colour(product, 0.05, 0.35, 0.7)
    metal = metal_colour(product)
    count = int(product.integers(2, 4))
    faulty = lots.integers(count) if defect in ("missing", "bent") else None
    for i in range(count):
        top_x = -0.25 + 0.5 * i / (count - 1)
        foot_x = top_x
        foot_y = 0.88
        if defect == "missing" and i == faulty:
            foot_y = 0.3
        if defect == "bent" and i == faulty:
            foot_x += uniform(lots, 0.12, 0.3) * random_sign(lots)
        canvas.fill(canvas.segment(top_x, 0.1, foot_x, foot_y, 0.045), metal, bevel=3)
    shift = uniform(lots, 0.12, 0.3) if defect == "misaligned" else 0
    canvas.fill(canvas.box(shift, -0.2, 0.42, 0.38, 0.05), colour, bevel=6)
    canvas.fill(canvas.circle(shift, -0.35, 0.1), colour * 1.6, bevel=2)
    misprint = lots if defect == "misprint" else None
    ink = np.clip(colour + 0.4, 0, 1)
    draw_text(canvas, product, misprint, shift, -0.05, 0.14, ink, letters=4)
    return canvas.out()


def chip(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A printed case with pins on two sides."""
    canvas = new_canvas(product, picture, 0.75, 1, aligned=True)
    colour = random_colour(product, 0.05, 0.3, 0.8)
    metal = np.full(3, uniform(product, 0.6, 0.9), np.float32)
    count = int(product.integers(4, 9))
    product.random()  # Has no effect on the chip, but on all that is drawn later.
    faulty = lots.integers(2 * count) if defect in ("missing", "bent") else None
    for i in range(2 * count):
        if defect == "missing" and i == faulty:
            continue
        row, column = divmod(i, 2)
        side = 1 if column else -1
        y = -0.55 + 1.1 * (row + 0.5) / count
        lean = uniform(lots, 0.06, 0.14) * random_sign(lots) if i == faulty else 0
        pin = canvas.segment(side * 0.45, y, side * 0.85, y + lean, 0.22 / count)
        canvas.fill(pin, metal, bevel=3)
    case = canvas.box(0, 0, 0.58, 0.66, 0.03)
    canvas.fill(case, colour, bevel=4, texture=0.04 * noise(picture, 2))
    canvas.fill(canvas.circle(-0.4, -0.5, 0.06), colour * 1.7)
    misprint = lots if defect == "misprint" else None
    ink = np.clip(colour + 0.5, 0, 1)
    letters = int(product.integers(3, 6))
    draw_text(canvas, product, misprint, 0, 0, 0.2, ink, letters)
    return canvas.out()


def resistor(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A resistor on its wire, with three to five coloured bands."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    colour = hsv_within(product, (0.05, 0.6), (0.2, 0.6), (0.5, 0.9))
    x = canvas.x
    y = canvas.y
    if defect == "bent":
        y = y + uniform(lots, 0.4, 0.9) * np.clip(x - 0.5, 0, 1) * random_sign(lots)
    canvas.fill(segment(x, y, -1, 0, 1, 0, 0.03), metal_colour(product), bevel=3)
    body = segment(x, y, -0.4, 0, 0.4, 0, 0.22)
    canvas.fill(body, colour, bevel=14)
    count = int(product.integers(3, 6))
    colours = [random_colour(product, 0.1, 0.9, 0.1) for _ in range(count)]
    faulty = lots.integers(count) if defect else None
    if defect == "wrong":
        colours[faulty] = contrasting_colour(lots, colours[faulty], 0.25)
    for i in range(count):
        if defect == "missing" and i == faulty:
            continue
        band = np.abs(x + 0.4 - 0.8 * (i + 0.5) / count) - 0.04
        canvas.fill(np.maximum(band, body + 0.005), colours[i])
    return canvas.out()


def plug(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A plug with two or three pins."""
    canvas = new_canvas(product, picture, 0.8, 1, aligned=True)
    colour = random_colour(product, 0.1, 0.95)
    canvas.fill(canvas.box(0, 0.35, 0.55, 0.45, 0.12), colour, bevel=12)
    canvas.fill(canvas.box(0, 0.9, 0.1, 0.3, 0.02), colour * 0.7)
    metal = metal_colour(product)
    count = int(product.integers(2, 4))
    faulty = lots.integers(count) if defect else None
    for i in range(count):
        if defect == "missing" and i == faulty:
            continue
        x = -0.3 + 0.6 * i / (count - 1)
        lean = 0
        if defect == "bent" and i == faulty:
            lean = uniform(lots, 0.12, 0.25) * random_sign(lots)
        canvas.fill(canvas.segment(x, -0.1, x + lean, -0.75, 0.07), metal, bevel=5)
    return canvas.out()
