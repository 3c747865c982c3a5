"""Objects that hold many loose parts: circuit boards, trays, boxes, candles and pill packs."""

from dataclasses import dataclass, replace

import numpy as np

from .drawing import (
    Array,
    Canvas,
    Rng,
    box,
    circle,
    contrasting_colour,
    hsv,
    hsv_within,
    noise,
    random_colour,
    random_sign,
    turned,
    uniform,
)
from .objects import Drawn
from .textures import new_canvas

TERMINAL = np.array([0.75, 0.75, 0.72], np.float32)


@dataclass(frozen=True)
class Part:
    """A part in one of three shapes: 0 a block between terminals, 1 round, 2 a plain block."""

    x: float
    y: float
    half_width: float
    half_height: float
    shape: int
    colour: Array
    angle: float = 0


def with_defect(
    parts: list[Part], defect: str | None, lots: Rng, extra_x: float, extra_y: float
) -> list[Part]:
    """The parts with one of them changed; an extra part goes to (extra_x, extra_y)."""
    if defect is None:
        return parts
    i = int(lots.integers(len(parts)))
    part = parts[i]
    if defect == "missing":
        return parts[:i] + parts[i + 1 :]
    if defect == "extra":
        return [*parts, replace(part, x=extra_x, y=extra_y)]
    if defect == "misaligned":
        angle = uniform(lots, 0.35, 0.9) * random_sign(lots)
        part = replace(part, angle=angle, x=part.x + uniform(lots, -0.06, 0.06))
    if defect == "wrong":
        colour = contrasting_colour(lots, part.colour, 0.3)
        part = replace(part, colour=colour, shape=(part.shape + 1) % 3)
    return parts[:i] + [part] + parts[i + 1 :]


def draw_parts(canvas: Canvas, parts: list[Part]) -> None:
    """Draws the parts, the first ones lowest."""
    for part in parts:
        x, y = turned(canvas.x - part.x, canvas.y - part.y, part.angle)
        width = part.half_width
        height = part.half_height
        colour = part.colour
        if part.shape == 0:
            canvas.fill(box(x, y, 0, 0, width * 1.25, height * 0.5), TERMINAL)
            canvas.fill(box(x, y, 0, 0, width, height, 0.01), colour, bevel=4)
        elif part.shape == 1:
            radius = (width + height) / 2
            canvas.fill(circle(x, y, 0, 0, radius), colour, bevel=6)
            canvas.fill(circle(x, y, 0, 0, radius * 0.55), colour * 0.75)
        else:
            canvas.fill(box(x, y, 0, 0, width, height, 0.03), colour, bevel=5)
            mark = np.clip(colour * 1.5 + 0.1, 0, 1)
            canvas.fill(box(x, y, 0, 0, width * 0.6, height * 0.15), mark)


def finished(
    canvas: Canvas,
    parts: list[Part],
    defect: str | None,
    lots: Rng,
    reach_x: float,
    reach_y: float,
) -> Drawn:
    """The canvas with its parts; an extra part may lie this far from the centre."""
    # Drawn even where no extra part is wanted, so that `lots` is always left in the same state.
    extra_x = uniform(lots, -reach_x, reach_x)
    extra_y = uniform(lots, -reach_y, reach_y) if reach_y else 0.0
    draw_parts(canvas, with_defect(parts, defect, lots, extra_x, extra_y))
    return canvas.out()


def circuit_board(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A board with tracks, solder points and four to nine components."""
    canvas = new_canvas(product, picture, 0.9, 1.2, aligned=True)
    board = hsv_within(product, (0.25, 0.65), (0.4, 0.9), (0.15, 0.5))
    canvas.fill(
        canvas.box(0, 0, 0.95, 0.85, 0.05), board, bevel=2, texture=0.03 * noise(picture, 3)
    )
    track_colour = np.clip(board * 1.6 + 0.05, 0, 1)
    for _ in range(int(product.integers(6, 14))):
        from_x = uniform(product, -0.85, 0.85)
        from_y = uniform(product, -0.75, 0.75)
        to_x = uniform(product, -0.85, 0.85)
        width = uniform(product, 0.008, 0.02)
        to_y = uniform(product, -0.75, 0.75)
        across = canvas.segment(from_x, from_y, to_x, from_y, width)
        down = canvas.segment(to_x, from_y, to_x, to_y, width)
        canvas.fill(np.minimum(across, down), track_colour)
        canvas.fill(canvas.circle(from_x, from_y, 0.04), hsv(0.12, 0.5, 0.8))
        canvas.fill(canvas.circle(from_x, from_y, 0.018), board * 0.3)
    parts = []
    for _ in range(int(product.integers(4, 10))):
        x, y = free_place(product, parts)
        width = uniform(product, 0.06, 0.2)
        height = uniform(product, 0.05, 0.14)
        shape = product.integers(3)
        colour = random_colour(product, 0.05, 0.9, 0.6)
        parts.append(Part(x, y, width, height, shape, colour))
    return finished(canvas, parts, defect, lots, 0.6, 0.5)


def free_place(product: Rng, parts: list[Part]) -> tuple[float, float]:
    """A place on a circuit board that is not close to a part, if one is found in 20 attempts."""
    for _ in range(20):
        x = uniform(product, -0.75, 0.75)
        y = uniform(product, -0.65, 0.65)
        if all(abs(x - part.x) + abs(y - part.y) > 0.38 for part in parts):
            break
    return x, y


def tray(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A tray with the same part in each of its compartments."""
    canvas = new_canvas(product, picture, 0.95, 1.15, aligned=True)
    colour = random_colour(product)
    columns = int(product.integers(2, 5))
    rows = int(product.integers(2, 5))
    canvas.fill(
        canvas.box(0, 0, 0.95, 0.95, 0.06), colour, bevel=5, texture=0.03 * noise(picture, 6)
    )
    shape = product.integers(3)
    part_colour = contrasting_colour(product, colour, 0.25)
    size = 1.8 / max(columns, rows) * 0.5
    parts = []
    for i in range(columns):
        for j in range(rows):
            x = -0.9 + 1.8 * (i + 0.5) / columns
            y = -0.9 + 1.8 * (j + 0.5) / rows
            canvas.fill(canvas.box(x, y, 0.82 / columns, 0.82 / rows, 0.04), colour * 0.65)
            x += uniform(picture, -0.01, 0.01)
            y += uniform(picture, -0.01, 0.01)
            parts.append(Part(x, y, size * 0.62, size * 0.5, shape, part_colour))
    return finished(canvas, parts, defect, lots, 0.6, 0.6)


def kit_box(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A box with three to six different parts, in two rows."""
    canvas = new_canvas(product, picture, 0.95, 1.15, aligned=True)
    colour = random_colour(product)
    canvas.fill(
        canvas.box(0, 0, 0.95, 0.8, 0.03), colour, bevel=4, texture=0.04 * noise(picture, 8)
    )
    canvas.fill(canvas.box(0, 0, 0.87, 0.72, 0.03), colour * 0.6)
    count = int(product.integers(3, 7))
    colours = [random_colour(product, 0.2, 0.95, 0.2) for _ in range(count)]
    parts = []
    for i, part_colour in enumerate(colours):
        x = -0.72 + 1.44 * (i + 0.5) / count + uniform(picture, -0.01, 0.01)
        y = 0.3 if i % 2 else -0.3
        product.random()  # Has no effect on the part, but on all that is drawn later.
        height = uniform(product, 0.12, 0.28)
        shape = product.integers(3)
        parts.append(Part(x, y, 0.66 / count, height, shape, part_colour))
    return finished(canvas, parts, defect, lots, 0.5, 0)


def candles(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """Four or nine round candles in rows."""
    canvas = new_canvas(product, picture, 0.95, 1.1, aligned=True)
    colour = random_colour(product, 0.5, 1, 0.2, 0.8)
    rows = int(product.integers(2, 4))
    parts = []
    for i in range(rows):
        for j in range(rows):
            x = -0.85 + 1.7 * (i + 0.5) / rows + uniform(picture, -0.03, 0.03)
            y = -0.85 + 1.7 * (j + 0.5) / rows + uniform(picture, -0.03, 0.03)
            parts.append(Part(x, y, 0.62 / rows, 0.62 / rows, 1, colour))
    return finished(canvas, parts, defect, lots, 0.5, 0.5)


def blister_pack(product: Rng, picture: Rng, defect: str | None, lots: Rng) -> Drawn:
    """A pack with a pill in each of its pockets."""
    canvas = new_canvas(product, picture, 0.95, 1.15, aligned=True)
    foil = random_colour(product, 0.6, 0.9, 0.8, 0.2)
    canvas.fill(canvas.box(0, 0, 0.95, 0.7, 0.08), foil, bevel=3, texture=0.05 * noise(picture, 3))
    columns = int(product.integers(3, 6))
    rows = int(product.integers(2, 4))
    colours = [random_colour(product, 0.3, 1, 0.1)] * (columns * rows)
    faulty = lots.integers(columns * rows) if defect else None
    if defect == "wrong":
        colours[faulty] = contrasting_colour(lots, colours[faulty], 0.3)
    radius = min(0.7 / columns, 0.5 / rows)
    for i, colour in enumerate(colours):
        column, row = divmod(i, rows)
        x = -0.85 + 1.7 * (column + 0.5) / columns
        y = -0.6 + 1.2 * (row + 0.5) / rows
        canvas.fill(canvas.circle(x, y, radius), foil * 0.85, bevel=5)
        if not (defect == "missing" and i == faulty):
            canvas.fill(canvas.circle(x, y, radius * 0.8), colour, bevel=7)
    return canvas.out()
