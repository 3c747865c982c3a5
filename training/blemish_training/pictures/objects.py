"""Single objects: hardware, food and household things.

Like all objects, they are drawn by functions of `product` (what all pictures of one product
share), `picture` (what differs from picture to picture), the name of a structural defect or None,
and `lots`, the generator that decides where and how the defect shows.
"""

import math
from collections.abc import Iterator

import numpy as np

from .drawing import (
    Array,
    Rng,
    box,
    circle,
    contrasting_colour,
    draw_text,
    fractal_noise,
    hsv_within,
    metal_colour,
    noise,
    polygon,
    random_colour,
    random_sign,
    segment,
    triangle_wave,
    turned,
    uniform,
)
from .textures import new_canvas, streaks, twill

Drawn = tuple[Array, Array]


def around(count: int, radius: float, start: float = 0) -> Iterator[tuple[float, float]]:
    """Points spread evenly over a circle about the origin."""
    for i in range(count):
        angle = 6.283 * i / count + start
        yield radius * math.cos(angle), radius * math.sin(angle)


# Hardware


def hex_nut(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A hexagonal nut with a threaded hole."""
    canvas = new_canvas(product, picture, 0.6, 0.95)
    metal = metal_colour(product)
    canvas.fill(
        polygon(canvas.x, canvas.y, 6, 0.78),
        metal,
        bevel=uniform(product, 4, 14),
        texture=0.05 * fractal_noise(picture, (20, 5)),
    )
    canvas.fill(canvas.circle(0, 0, 0.72), metal * 1.05, bevel=3)
    hole = uniform(product, 0.36, 0.48)
    canvas.fill(canvas.circle(0, 0, hole + 0.06), metal * 0.7)
    canvas.fill(canvas.circle(0, 0, hole), random_colour(product, 0.02, 0.2), foreground=False)
    for i in range(3):
        thread = np.abs(canvas.circle(0.01 * i, 0, hole - 0.03 - 0.03 * i)) - 0.006
        canvas.fill(thread, metal * 0.5, foreground=False)
    return canvas.out()


def washer(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A metal ring; the background shows through its hole, in shadow."""
    canvas = new_canvas(product, picture, 0.6, 1)
    metal = metal_colour(product)
    hole = uniform(product, 0.3, 0.6)
    behind = canvas.image.copy()
    canvas.fill(
        canvas.circle(0, 0, 0.85),
        metal,
        bevel=uniform(product, 2, 8),
        texture=0.05 * fractal_noise(picture, (30, 6)),
    )
    mask = np.clip(0.5 - canvas.circle(0, 0, hole) * canvas.pixels, 0, 1)
    canvas.image += (behind * 0.8 - canvas.image) * mask[..., None]
    canvas.foreground *= 1 - mask
    return canvas.out()


def screw(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A screw from the side, with one of three heads."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    metal = metal_colour(product)
    radius = uniform(product, 0.12, 0.22)
    length = uniform(product, 0.55, 0.85)
    head = radius * uniform(product, 1.7, 2.3)
    pitch = uniform(product, 0.05, 0.1)
    x = canvas.x
    y = canvas.y
    if defect == "bent":
        along = np.clip(x + 0.1, 0, 2)
        y = y + random_sign(lots) * along * along * uniform(lots, 0.25, 0.6)
    threaded = x > -0.3
    zigzag = radius * 0.14 * triangle_wave(x / pitch + 0.5 * np.sign(y))
    canvas.fill(
        segment(x, y, -0.5, 0, length - 0.12, 0, radius) + zigzag * threaded,
        metal,
        bevel=radius * canvas.pixels * 0.9,
        texture=0.1 * np.sin(6.28 * x / pitch) * threaded,
    )
    kind = product.integers(3)
    if kind == 0:
        shape = box(x, y, -0.62, 0, 0.16, head, 0.04)
    elif kind == 1:
        shape = np.maximum(circle(x, y, -0.52, 0, head), x + 0.5)
    else:
        shape = np.maximum(np.abs(y) - head + (x + 0.78) * 0.6, np.abs(x + 0.62) - 0.16)
    canvas.fill(shape, metal * 0.95, bevel=8)
    return canvas.out()


def gear(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A toothed wheel, on half of the products with a ring of holes."""
    canvas = new_canvas(product, picture, 0.7, 1)
    metal = metal_colour(product)
    teeth = int(product.integers(8, 28))
    distance = np.sqrt(canvas.x**2 + canvas.y**2)
    place = np.arctan2(canvas.y, canvas.x) * teeth / 6.28318
    tooth = np.clip((triangle_wave(place) - 0.5) * 3.0, -1, 1) * 0.5 + 0.5
    if defect == "missing":
        gap = lots.integers(teeth)
        tooth = np.where(np.floor(place + 0.5) % teeth == gap, 0, tooth)
    edge = 0.72 + tooth * uniform(product, 0.1, 0.18)
    canvas.fill(
        (distance - edge) * 0.8,
        metal,
        bevel=uniform(product, 2, 7),
        texture=0.04 * fractal_noise(picture, (20, 5)),
    )
    axle = uniform(product, 0.15, 0.3)
    canvas.fill(np.abs(distance - 0.6) - 0.02, metal * 0.8)
    if product.random() < 0.5:
        for x, y in around(int(product.integers(3, 7)), 0.43):
            canvas.fill(canvas.circle(x, y, 0.11), metal * 0.2, foreground=False)
    canvas.fill(distance - axle, metal * 0.15, foreground=False)
    return canvas.out()


def bracket(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A straight plate, an L or a U with three screw holes."""
    canvas = new_canvas(product, picture, 0.7, 1)
    colour = random_colour(product, 0.2, 0.9, 0.5)
    width = uniform(product, 0.2, 0.35)
    left = canvas.box(-0.75 + width, 0, width, 0.8, 0.08)
    bottom = canvas.box(0, 0.8 - width, 0.8, width, 0.08)
    right = canvas.box(0.75 - width, 0, width, 0.8, 0.08)
    kind = product.integers(3)
    holes = [(-0.75 + width, -0.55), (-0.75 + width, 0.8 - width), (0.5, 0.8 - width)]
    if kind == 0:
        shape = np.minimum(left, bottom)
    elif kind == 1:
        shape = canvas.box(0, 0, 0.85, width * 1.6, 0.1)
        holes = [(-0.6, 0), (0, 0), (0.6, 0)]
    else:
        shape = np.minimum(np.minimum(left, bottom), right)
    canvas.fill(
        shape,
        colour,
        bevel=uniform(product, 2, 8),
        texture=0.04 * fractal_noise(picture, (25, 4)),
    )
    radius = width * uniform(product, 0.3, 0.5)
    if defect == "missing":
        del holes[lots.integers(len(holes))]
    if defect == "misaligned":
        i = lots.integers(len(holes))
        angle = uniform(lots, 0, 6.28)
        x, y = holes[i]
        x += width * 0.42 * math.cos(angle)
        y += width * 0.42 * math.sin(angle)
        holes[i] = (x, y)
    for x, y in holes:
        canvas.fill(canvas.circle(x, y, radius + 0.03), colour * 0.75)
        canvas.fill(canvas.circle(x, y, radius), colour * 0.12, foreground=False)
    return canvas.out()


def bearing(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """Balls between two metal rings."""
    canvas = new_canvas(product, picture, 0.75, 1)
    metal = metal_colour(product)
    count = int(product.integers(6, 13))
    canvas.fill(canvas.circle(0, 0, 0.9), metal, bevel=7, texture=0.03 * noise(picture, 4))
    canvas.fill(canvas.circle(0, 0, 0.72), metal * 0.35)
    missing = lots.integers(count) if defect == "missing" else None
    for i, (x, y) in enumerate(around(count, 0.57)):
        if i != missing:
            canvas.fill(canvas.circle(x, y, min(0.13, 1.5 / count)), metal * 1.1, bevel=10)
    canvas.fill(canvas.circle(0, 0, 0.42), metal, bevel=6)
    canvas.fill(canvas.circle(0, 0, 0.27), metal * 0.15, foreground=False)
    return canvas.out()


def o_ring(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A rubber ring, more or less round."""
    canvas = new_canvas(product, picture, 0.7, 1)
    colour = random_colour(product, 0.03, 0.6)
    width = uniform(product, 0.06, 0.18)
    flatness = uniform(product, 0.8, 1)
    distance = np.sqrt(canvas.x**2 + (canvas.y / flatness) ** 2)
    canvas.fill(
        np.abs(distance - 0.75) - width,
        colour,
        bevel=width * canvas.pixels,
        texture=0.03 * noise(picture, 3),
    )
    return canvas.out()


def spring(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """The windings of a coil spring from the side."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    metal = metal_colour(product)
    count = int(product.integers(5, 12))
    width = uniform(product, 0.2, 0.35)
    x = canvas.x
    y = canvas.y
    if defect == "bent":
        y = y + uniform(lots, 0.3, 0.6) * np.clip(x, 0, 1) ** 2 * random_sign(lots)
    shifted = ()
    if defect == "misaligned":
        first = int(lots.integers(1, count - 1))
        shifted = (first, first + 1)
    for i in range(count):
        middle = -0.8 + 1.6 * (i + 0.5) / count + (0.6 / count if i in shifted else 0)
        lean = 0.3 / count
        winding = segment(x, y, middle - lean, -width, middle + lean, width, 0.28 / count)
        canvas.fill(winding, metal, bevel=4)
    return canvas.out()


# Medicine and food


def pill(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A round or oval tablet with a print or a score line."""
    canvas = new_canvas(product, picture, 0.6, 1)
    colour = random_colour(product, 0.5, 1, 0.35, 0.7)
    flatness = uniform(product, 0.55, 1)
    y = canvas.y / flatness
    radius = 0.85
    speckles = np.clip((noise(picture, 4) - 1.6) * 2, 0, 1) * (product.random() < 0.4)
    canvas.fill(
        (np.sqrt(canvas.x * canvas.x + y * y) - radius) * flatness,
        colour,
        bevel=uniform(product, 6, 20),
        texture=0.02 * noise(picture, 3) - 0.3 * speckles,
    )
    if product.random() < 0.8:
        misprint = lots if defect == "misprint" else None
        height = uniform(product, 0.3, 0.5)
        ink = colour * uniform(product, 0.55, 0.8)
        draw_text(canvas, product, misprint, 0, 0, height, ink)
    else:
        score = canvas.box(0, 0, 0.02, radius * flatness * 0.9)
        canvas.fill(score, colour * 0.7, foreground=False)
    return canvas.out()


def capsule(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A shiny capsule in two colours, with a print on one half."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    left_colour = random_colour(product, 0.2, 1)
    right_colour = random_colour(product, 0.2, 1)
    radius = uniform(product, 0.22, 0.4)
    length = 0.8
    bevel = radius * canvas.pixels * 0.8
    whole = canvas.segment(-length + radius, 0, length - radius, 0, radius)
    canvas.fill(whole, left_colour, bevel=bevel)
    inner = canvas.segment(-length + radius, 0, length - radius, 0, radius * 0.97)
    half = np.maximum(inner, canvas.x - uniform(product, -0.1, 0.1))
    canvas.fill(half, right_colour, bevel=bevel)
    misprint = lots if defect == "misprint" else None
    ink = np.clip(1 - left_colour, 0, 1)
    draw_text(canvas, product, misprint, uniform(product, 0.25, 0.4), 0, radius * 0.7, ink)
    gloss = np.exp(-(((canvas.y + radius * 0.5) / (radius * 0.12)) ** 2))
    gloss = gloss * np.clip(1 - np.abs(canvas.x / length) ** 6, 0, 1) * (np.abs(canvas.x) < length)
    canvas.image += 0.35 * gloss[..., None]
    return canvas.out()


def biscuit(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A round or square biscuit with chocolate chips or a grid of holes."""
    canvas = new_canvas(product, picture, 0.7, 1)
    colour = hsv_within(product, (0.05, 0.11), (0.4, 0.75), (0.45, 0.85))
    is_round = product.integers(2)
    waves = np.cos(np.arctan2(canvas.y, canvas.x) * int(product.integers(12, 30)))
    edge = 0.03 * waves * (product.random() < 0.6) + 0.015 * noise(picture, 12)
    if is_round:
        shape = canvas.circle(0, 0, 0.85)
    else:
        shape = canvas.box(0, 0, 0.85, uniform(product, 0.55, 0.85), 0.1)
    crumb = 0.07 * fractal_noise(picture, (14, 5, 2), 0.8)
    canvas.fill(shape + edge, colour, bevel=10, texture=crumb)
    rows = int(product.integers(2, 4))
    if product.random() < 0.5:
        for _ in range(int(product.integers(4, 10))):
            angle = uniform(picture, 0, 6.28)
            distance = 0.65 * math.sqrt(picture.random())
            x = distance * math.cos(angle)
            y = distance * math.sin(angle) * 0.75
            chip = canvas.circle(x, y, uniform(picture, 0.05, 0.11))
            canvas.fill(chip, colour * 0.4, bevel=4)
        return canvas.out()
    for i in range(-rows, rows + 1):
        for j in range(-rows, rows + 1):
            if i * i + j * j <= rows * rows:
                hole = canvas.circle(i * 0.55 / rows, j * 0.42 / rows, 0.025)
                canvas.fill(hole, colour * 0.6)
    return canvas.out()


# Containers


def bottle(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A bottle from above: rings inside each other, and a reflection."""
    canvas = new_canvas(product, picture, 0.75, 1.0)
    radius = 0.9
    glass = random_colour(product, 0.05, 0.6)
    canvas.fill(canvas.circle(0, 0, radius), glass, bevel=uniform(product, 4, 12))
    rings = [
        (radius * uniform(product, 0.8, 0.9), random_colour(product, 0.1, 0.7)),
        (radius * uniform(product, 0.66, 0.76), glass * uniform(product, 0.4, 1.5)),
        (radius * uniform(product, 0.45, 0.6), random_colour(product, 0.02, 0.5)),
    ]
    for ring_radius, colour in rings:
        bevel = uniform(product, 3, 10)
        canvas.fill(canvas.circle(0, 0, ring_radius), np.clip(colour, 0, 1), bevel=bevel)
    width = uniform(product, 0.02, 0.06)
    distance = np.sqrt(canvas.x**2 + canvas.y**2) - uniform(product, 0.7, 0.85)
    angle = np.arctan2(canvas.y, canvas.x) * product.integers(1, 4) + uniform(product, 0, 6)
    gloss = np.exp(-((distance / width) ** 2)) * np.clip(np.cos(angle), 0, 1) ** 4
    canvas.image += 0.5 * gloss[..., None]
    return canvas.out()


def can_lid(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """The lid of a can with a ring pull."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    metal = metal_colour(product)
    canvas.fill(canvas.circle(0, 0, 0.9), metal, bevel=10, texture=0.04 * streaks(picture, 31, 1))
    canvas.fill(canvas.circle(0, 0, 0.76), metal * 0.92, bevel=4)
    canvas.fill(np.abs(canvas.circle(0, 0, 0.6)) - 0.015, metal * 0.7)
    if defect != "missing":
        angle = 0.5 * lots.random() + 0.3 if defect == "misaligned" else 0
        x, y = turned(canvas.x, canvas.y, angle)
        canvas.fill(segment(x, y, 0, 0.05, 0, 0.38, 0.15), metal * 1.1, bevel=5)
        canvas.fill(circle(x, y, 0, 0.36, 0.07), metal * 0.4, foreground=False)
        canvas.fill(circle(x, y, 0, 0, 0.06), metal * 0.8, bevel=3)
    return canvas.out()


def vial(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A small bottle with liquid, a cap and on most products a label."""
    canvas = new_canvas(product, picture, 0.9, 1.1, aligned=True)
    glass = random_colour(product, 0.3, 0.95, 0.3, 0.5)
    liquid = random_colour(product, 0.2, 0.9, 0.1)
    width = uniform(product, 0.25, 0.45)
    canvas.fill(canvas.box(0, 0.12, width, 0.75, 0.1), glass, bevel=10)
    level = uniform(product, -0.3, 0.2)
    if defect == "wrong":
        level += uniform(lots, 0.25, 0.5) * random_sign(lots)
    inside = canvas.box(0, 0.12, width * 0.9, 0.7, 0.08)
    canvas.fill(np.maximum(inside, level - canvas.y), liquid, bevel=6)
    cap_colour = random_colour(product, 0.1, 0.9)
    if defect != "missing":
        canvas.fill(canvas.box(0, -0.76, width * 0.75, 0.14, 0.04), cap_colour, bevel=6)
    if product.random() < 0.7:
        colour = random_colour(product, 0.6, 1, 0.5, 0.3)
        angle = 0
        if defect == "misaligned":
            angle = uniform(lots, 0.15, 0.4) * random_sign(lots)
        x, y = turned(canvas.x, canvas.y, angle)
        canvas.fill(np.maximum(box(x, y, 0, 0.3, width, 0.2), np.abs(canvas.x) - width), colour)
        misprint = lots if defect == "misprint" else None
        ink = contrasting_colour(product, colour, 0.4)
        draw_text(canvas, product, misprint, 0, 0.3, 0.18, ink, letters=4)
    return canvas.out()


def label(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A printed label with a mark on the left and up to three lines of text."""
    canvas = new_canvas(product, picture, 0.85, 1.1, aligned=True)
    paper = random_colour(product, 0.6, 1, 0.4, 0.5)
    sheet = canvas.box(0, 0, 0.92, uniform(product, 0.5, 0.8), 0.06)
    canvas.fill(sheet, paper, bevel=1, texture=0.02 * noise(picture, 3))
    ink = contrasting_colour(product, paper, 0.4)
    lines = int(product.integers(1, 4))
    wrong_line = int(lots.integers(lines)) if defect == "misprint" else None
    square = product.random() < 0.5
    mark_colour = random_colour(product, 0.1, 0.8, 0.1)
    if defect != "missing":
        mark = canvas.box(-0.6, -0.05, 0.2, 0.25, 0.02) if square else canvas.circle(-0.6, 0, 0.22)
        canvas.fill(mark, mark_colour)
    for i in range(lines):
        x = 0.22
        y = -0.3 + 0.6 * (i + 0.5) / lines
        if defect == "misaligned":
            x += uniform(lots, 0.1, 0.25)
            y += uniform(lots, -0.15, 0.15)
        misprint = lots if i == wrong_line else None
        letters = int(product.integers(3, 8))
        draw_text(canvas, product, misprint, x, y, 0.42 / lines, ink, letters)
    return canvas.out()


# Household things


def zipper(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """Two rows of teeth on a band, sewn into cloth."""
    canvas = new_canvas(product, picture, 1.1, 1.4, aligned=True)
    canvas.image = twill(product, picture).astype(np.float32)
    canvas.foreground[:] = 1
    metal = metal_colour(product)
    count = int(product.integers(8, 16))
    spacing = 2.2 / count
    width = uniform(product, 0.16, 0.28)
    faulty = int(lots.integers(1, count - 2)) if defect else None
    band = np.abs(canvas.x) - width * 1.5
    canvas.fill(band, random_colour(product, 0.1, 0.7), texture=0.08 * np.sin(canvas.y * 120))
    for i in range(count):
        middle = -1.1 + spacing * (i + 0.5)
        for side in (-1, 1):
            x = canvas.x - side * width * 0.45
            y = canvas.y - (middle + side * spacing * 0.25)
            if side == 1 and defect == "missing" and i == faulty:
                continue
            if side == 1 and defect == "bent" and i in (faulty, faulty + 1):
                x, y = turned(x, y, 0.6)
                x = x - 0.05
            canvas.fill(box(x, y, 0, 0, width * 0.6, spacing * 0.17, 0.01), metal, bevel=3)
    return canvas.out()


def button(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A round button with two or four holes."""
    canvas = new_canvas(product, picture, 0.6, 0.95)
    colour = random_colour(product)
    canvas.fill(
        canvas.circle(0, 0, 0.88), colour, bevel=12, texture=0.03 * fractal_noise(picture, (30, 8))
    )
    canvas.fill(canvas.circle(0, 0, 0.6), colour * 0.88, bevel=6)
    count = int(product.choice([2, 4]))
    missing = lots.integers(count) if defect == "missing" else None
    for i, (x, y) in enumerate(around(count, 0.25, start=0.78)):
        if i != missing:
            canvas.fill(canvas.circle(x, y, 0.1), colour * 0.1, foreground=False)
    return canvas.out()


def coin(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A coin with a print and a ring of dots."""
    canvas = new_canvas(product, picture, 0.7, 1)
    metal = hsv_within(product, (0.08, 0.15), (0, 0.6), (0.5, 0.9))
    canvas.fill(
        canvas.circle(0, 0, 0.88), metal, bevel=5, texture=0.04 * fractal_noise(picture, (30, 6))
    )
    canvas.fill(canvas.circle(0, 0, 0.78), metal * 0.93, bevel=3)
    misprint = lots if defect == "misprint" else None
    height = uniform(product, 0.4, 0.6)
    letters = int(product.integers(1, 3))
    draw_text(canvas, product, misprint, 0, 0, height, metal * 0.65, letters)
    places = list(around(int(product.integers(10, 28)), 0.7))
    for x, y in places[::2]:
        canvas.fill(canvas.circle(x, y, 0.03), metal * 1.15, bevel=2)
    return canvas.out()


def brush(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """The head of a toothbrush with tufts in two colours."""
    canvas = new_canvas(product, picture, 0.8, 1.05)
    handle = random_colour(product, 0.3, 1, 0.1)
    canvas.fill(canvas.segment(-0.5, 0, 0.5, 0, 0.38), handle, bevel=14)
    columns = int(product.integers(6, 11))
    rows = int(product.integers(3, 5))
    colours = [random_colour(product, 0.5, 1, 0.4), random_colour(product, 0.3, 1, 0.1)]
    faulty = lots.integers(columns * rows) if defect else None
    radius = 0.42 / columns * 1.5
    jitter = picture.standard_normal((columns * rows, 2)) * 0.006
    for i in range(columns * rows):
        column, row = divmod(i, rows)
        if defect == "missing" and abs(i - faulty) <= 1:
            continue
        x = -0.62 + 1.24 * (column + 0.5) / columns + jitter[i, 0]
        y = -0.24 + 0.48 * (row + 0.5) / rows + jitter[i, 1]
        if defect == "bent" and i == faulty:
            x += uniform(lots, -0.15, 0.15)
            y += uniform(lots, -0.15, 0.15)
        canvas.fill(canvas.circle(x, y, radius), colours[(column + row) % 2], bevel=4)
    return canvas.out()
