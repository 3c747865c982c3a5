"""Good parts that look busy: holes, edges, print, embossing and highlights that are no defects."""

import math

import numpy as np

from .drawing import (
    Array,
    Canvas,
    Rng,
    contrasting_colour,
    draw_text,
    fractal_noise,
    metal_colour,
    noise,
    polygon,
    random_colour,
    random_sign,
    uniform,
)
from .textures import background

Drawn = tuple[Array, Array]


def _streak(canvas: Canvas, angle: float, sharpness: float, strength: float) -> None:
    """A highlight like that of turned metal: two bright sectors through the centre."""
    around = np.arctan2(canvas.y, canvas.x) - angle
    light = np.abs(np.cos(around)) ** sharpness * canvas.foreground
    canvas.image += strength * light[..., None]


def _gloss(canvas: Canvas, picture: Rng, strength: float) -> None:
    """A soft reflection of a lamp somewhere on the part."""
    x, y = uniform(picture, -0.5, 0.5), uniform(picture, -0.5, 0.5)
    long, thin = uniform(picture, 0.2, 0.7), uniform(picture, 0.04, 0.2)
    turn = uniform(picture, 0, 3.14)
    across = (canvas.x - x) * math.cos(turn) + (canvas.y - y) * math.sin(turn)
    down = (canvas.y - y) * math.cos(turn) - (canvas.x - x) * math.sin(turn)
    light = np.exp(-((across / long) ** 2) - (down / thin) ** 2) * canvas.foreground
    canvas.image += strength * light[..., None]


def _engrave(canvas: Canvas, product: Rng, misprint: Rng | None, x: float, y: float) -> None:
    """Pressed lettering: one light and one dark copy, a little apart."""
    word, size = int(product.integers(1 << 30)), uniform(product, 0.14, 0.3)
    base = canvas.image.copy()
    fault = None if misprint is None else int(misprint.integers(1 << 30))
    for shift, colour in ((0.012, 1.0), (-0.012, 0.0)):
        same = np.random.default_rng(word)
        wrong = None if fault is None else np.random.default_rng(fault)
        ink = np.full(3, colour, np.float32)
        draw_text(canvas, same, wrong, x + shift, y + shift, size, ink, letters=3)
    canvas.image = base + (canvas.image - base) * uniform(product, 0.3, 0.7)


def stamped_plate(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A sheet metal plate with slots, holes, beads and pressed lettering."""
    canvas = Canvas(background(product, picture), product, picture, 0.8, 1.1)
    colour = metal_colour(product)
    half = uniform(product, 0.45, 0.85)
    grain = 0.05 * fractal_noise(picture, (30, 8, 3))
    canvas.fill(canvas.box(0, 0, 0.9, half, uniform(product, 0, 0.2)), colour, 4, grain)
    for _ in range(int(product.integers(1, 4))):
        y = uniform(product, -half * 0.7, half * 0.7)
        bead = canvas.segment(-0.6, y, 0.6, y, uniform(product, 0.02, 0.06))
        canvas.fill(bead, colour * uniform(product, 0.9, 1.1), 3)
    places = [(sx * 0.76, sy * half * 0.72) for sx in (-1, 1) for sy in (-1, 1)]
    extra = int(product.integers(0, 4))
    places += [(uniform(product, -0.5, 0.5), uniform(product, -half, half) * 0.5)] * (extra > 0)
    odd = int(lots.integers(len(places))) if fault in ("missing", "misaligned") else -1
    radius = uniform(product, 0.05, 0.11)
    for i, (x, y) in enumerate(places):
        if i == odd and fault == "missing":
            continue
        if i == odd:
            x += random_sign(lots) * radius * uniform(lots, 1.2, 2)
        canvas.fill(canvas.circle(x, y, radius * 1.35), colour * 0.8, 2)
        canvas.fill(canvas.circle(x, y, radius), random_colour(product, 0, 0.15), foreground=False)
    if product.random() < 0.6:
        x = uniform(product, -0.3, 0.3)
        slot = canvas.segment(x - 0.15, 0, x + 0.15, 0, uniform(product, 0.04, 0.09))
        canvas.fill(slot, random_colour(product, 0, 0.2), foreground=False)
    _engrave(canvas, product, lots if fault == "misprint" else None, 0.1, half * 0.45)
    _gloss(canvas, picture, uniform(product, 0, 0.3))
    return canvas.out()


def turned_part(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A turned disc: rings of tool marks, chamfers, a ring of holes, a streak of light."""
    canvas = Canvas(background(product, picture), product, picture, 0.75, 1.0)
    colour = metal_colour(product)
    around = np.sqrt(canvas.x**2 + canvas.y**2)
    marks = 0.06 * np.sin(around * uniform(product, 60, 160) + noise(picture, 60) * 0.3)
    canvas.fill(canvas.circle(0, 0, 0.9), colour, uniform(product, 3, 10), marks)
    for radius in sorted(uniform(product, 0.3, 0.8) for _ in range(int(product.integers(1, 4))))[
        ::-1
    ]:
        canvas.fill(canvas.circle(0, 0, radius), colour * uniform(product, 0.8, 1.15), 4, marks)
    _streak(canvas, uniform(picture, 0, 3.14), uniform(product, 8, 40), uniform(product, 0, 0.35))
    holes = int(product.integers(0, 9))
    odd = int(lots.integers(max(holes, 1))) if fault == "missing" else -1
    ring, size = uniform(product, 0.5, 0.7), uniform(product, 0.04, 0.1)
    for i in range(holes):
        if i != odd:
            angle = 6.283 * i / holes
            hole = canvas.circle(ring * math.cos(angle), ring * math.sin(angle), size)
            canvas.fill(hole, colour * 0.15, foreground=False)
    canvas.fill(canvas.circle(0, 0, uniform(product, 0.1, 0.28)), colour * 0.1, foreground=False)
    return canvas.out()


def commutator(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A ring of bars with dark gaps between them, round a hub with a bore."""
    canvas = Canvas(background(product, picture), product, picture, 0.75, 1.0)
    bars, colour = int(product.integers(8, 32)), metal_colour(product)
    around = np.sqrt(canvas.x**2 + canvas.y**2)
    angle = np.arctan2(canvas.y, canvas.x) * bars / 6.28318
    outer, inner = uniform(product, 0.75, 0.92), uniform(product, 0.4, 0.6)
    canvas.fill(canvas.circle(0, 0, outer), colour, 5, 0.05 * fractal_noise(picture, (20, 5)))
    gap = (np.abs(angle - np.round(angle)) - uniform(product, 0.05, 0.14)) * around * 6.28 / bars
    if fault == "missing":
        closed = int(lots.integers(bars)) - bars // 2
        gap = np.where(np.round(angle) == closed, 1.0, gap)
    slots = np.maximum(gap, np.maximum(inner - around, around - outer))
    canvas.fill(slots, colour * 0.15, foreground=False)
    hub = random_colour(product, 0.05, 0.6)
    canvas.fill(canvas.circle(0, 0, inner), hub, 6, 0.05 * noise(picture, 4))
    canvas.fill(canvas.circle(0, 0, inner * 0.6), colour * 0.8, 4)
    canvas.fill(canvas.circle(0, 0, inner * 0.45), colour * 0.1, foreground=False)
    return canvas.out()


def glossy_housing(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A shiny plastic cover with vents, screws, print and reflections."""
    canvas = Canvas(background(product, picture), product, picture, 0.85, 1.1)
    colour = random_colour(product, 0.05, 0.95)
    half = uniform(product, 0.55, 0.85)
    canvas.fill(canvas.box(0, 0, 0.88, half, uniform(product, 0.05, 0.3)), colour, 14)
    canvas.fill(
        canvas.box(0, 0, 0.78, half - 0.1, 0.08), colour * 0.95, 3, 0.01 * noise(picture, 2)
    )
    vents = int(product.integers(3, 9))
    odd = int(lots.integers(vents)) if fault == "missing" else -1
    for i in range(vents):
        y = -half * 0.6 + half * 0.7 * i / vents
        if i != odd:
            canvas.fill(canvas.segment(-0.55, y, -0.05, y, 0.018), colour * 0.2)
    for x in (-0.7, 0.7):
        canvas.fill(canvas.circle(x, half * 0.75, 0.06), metal_colour(product), 3)
        canvas.fill(canvas.box(x, half * 0.75, 0.045, 0.01), colour * 0.1)
    ink = contrasting_colour(product, colour, 0.35)
    misprint = lots if fault == "misprint" else None
    draw_text(canvas, product, misprint, 0.35, -half * 0.3, uniform(product, 0.12, 0.25), ink)
    for _ in range(int(picture.integers(1, 4))):
        _gloss(canvas, picture, uniform(product, 0.1, 0.5))
    return canvas.out()


def dial(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A round face with ticks, figures and a hand."""
    canvas = Canvas(background(product, picture), product, picture, 0.8, 1.0, aligned=True)
    face = random_colour(product, 0.5, 1, 0.6, 0.3)
    ink = contrasting_colour(product, face, 0.4)
    canvas.fill(canvas.circle(0, 0, 0.92), metal_colour(product), 8)
    canvas.fill(canvas.circle(0, 0, 0.8), face, 2, 0.02 * noise(picture, 20))
    ticks = int(product.integers(12, 41))
    odd = int(lots.integers(ticks)) if fault == "missing" else -1
    for i in range(ticks):
        if i != odd:
            x, y = math.cos(6.283 * i / ticks), math.sin(6.283 * i / ticks)
            start = 0.62 if i % 5 == 0 else 0.68
            canvas.fill(canvas.segment(start * x, start * y, 0.75 * x, 0.75 * y, 0.012), ink)
    misprint = lots if fault == "misprint" else None
    draw_text(canvas, product, misprint, 0, 0.35, 0.16, ink, letters=3)
    turn = uniform(picture, 0, 6.28)
    x, y = math.cos(turn), math.sin(turn)
    canvas.fill(canvas.segment(-0.1 * x, -0.1 * y, 0.58 * x, 0.58 * y, 0.02), ink * 0.8)
    canvas.fill(canvas.circle(0, 0, 0.07), metal_colour(product), 4)
    _gloss(canvas, picture, uniform(product, 0, 0.3))
    return canvas.out()


def printed_panel(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A panel with lines of print, a bar code and a frame."""
    canvas = Canvas(background(product, picture), product, picture, 0.9, 1.15, aligned=True)
    ground = random_colour(product, 0.1, 1, 0.5, 0.6)
    ink = contrasting_colour(product, ground, 0.4)
    half = uniform(product, 0.5, 0.85)
    canvas.fill(canvas.box(0, 0, 0.92, half, 0.04), ground, 2, 0.02 * noise(picture, 3))
    canvas.fill(np.abs(canvas.box(0, 0, 0.84, half - 0.08)) - 0.008, ink)
    lines = int(product.integers(2, 5))
    odd = int(lots.integers(lines)) if fault == "misprint" else -1
    shift = random_sign(lots) * uniform(lots, 0.12, 0.25) if fault == "misaligned" else 0.0
    for i in range(lines):
        y = -half * 0.6 + half * 0.9 * i / lines
        letters = int(product.integers(4, 9))
        height = uniform(product, 0.1, 0.18)
        misprint = lots if i == odd else None
        draw_text(canvas, product, misprint, -0.2 + shift, y, height, ink, letters)
    if product.random() < 0.7:
        stripes = product.random(40) < 0.5
        stripe = np.clip(((canvas.x - 0.1) / 0.65 * 40).astype(int), 0, 39)
        bars = np.maximum(canvas.box(0.42, half * 0.55, 0.32, half * 0.2), 0)
        canvas.fill(np.where(stripes[stripe], bars - 0.001, 1.0), ink)
    return canvas.out()


def scored_tablet(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A tablet with a groove, pressed lettering and coloured specks."""
    canvas = Canvas(background(product, picture), product, picture, 0.6, 1.0)
    colour, squash = random_colour(product, 0.5, 1, 0.4, 0.6), uniform(product, 0.5, 1)
    specks = np.clip((noise(picture, uniform(product, 2, 5)) - 1.3) * 2, 0, 1)
    shape = (np.sqrt(canvas.x**2 + (canvas.y / squash) ** 2) - 0.85) * squash
    light = 0.03 * noise(picture, 3) - uniform(product, 0, 0.35) * specks
    canvas.fill(shape, colour, uniform(product, 6, 22), light)
    if product.random() < 0.6:
        for shift, tone in ((0.012, 1.12), (-0.012, 0.7)):
            canvas.fill(canvas.box(shift, 0, 0.012, 0.75 * squash), np.clip(colour * tone, 0, 1))
    misprint = lots if fault == "misprint" else None
    _engrave(canvas, product, misprint, uniform(product, -0.4, 0.4), 0)
    _gloss(canvas, picture, uniform(product, 0, 0.35))
    return canvas.out()


def casting(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """A rough cast body with ribs, bosses and a machined rim."""
    canvas = Canvas(background(product, picture), product, picture, 0.8, 1.1)
    colour = random_colour(product, 0.25, 0.75, 0.8, 0.2)
    rough = uniform(product, 0.04, 0.1) * fractal_noise(picture, (9, 4, 2), 0.8)
    corners = int(product.integers(4, 9))
    canvas.fill(polygon(canvas.x, canvas.y, corners, 0.8), colour, 8, rough)
    bosses = int(product.integers(2, 6))
    odd = int(lots.integers(bosses)) if fault == "missing" else -1
    for i in range(bosses):
        x, y = (0.55 * f(6.283 * i / bosses) for f in (math.cos, math.sin))
        canvas.fill(canvas.segment(0, 0, x, y, uniform(product, 0.04, 0.08)), colour, 6, rough)
        if i != odd:
            canvas.fill(canvas.circle(x, y, 0.13), colour * 1.2, 4)
            canvas.fill(canvas.circle(x, y, 0.06), colour * 0.15, foreground=False)
    around = np.sqrt(canvas.x**2 + canvas.y**2)
    rim = 0.05 * np.sin(around * 120)
    canvas.fill(canvas.circle(0, 0, 0.34), np.clip(colour * 1.35, 0, 1), 4, rim)
    canvas.fill(canvas.circle(0, 0, uniform(product, 0.15, 0.26)), colour * 0.12, foreground=False)
    return canvas.out()


def keypad(product: Rng, picture: Rng, fault: str | None, lots: Rng) -> Drawn:
    """Rows of keys with a sign on each."""
    canvas = Canvas(background(product, picture), product, picture, 0.9, 1.1, aligned=True)
    body, key = random_colour(product, 0.05, 0.6), random_colour(product, 0.2, 0.95)
    columns, rows = int(product.integers(3, 5)), int(product.integers(3, 5))
    canvas.fill(canvas.box(0, 0, 0.92, 0.92, 0.08), body, 6, 0.02 * noise(picture, 3))
    odd = int(lots.integers(columns * rows)) if fault else -1
    ink = contrasting_colour(product, key, 0.35)
    step_x, step_y = 1.7 / columns, 1.7 / rows
    for i in range(columns * rows):
        x, y = -0.85 + step_x * (i % columns + 0.5), -0.85 + step_y * (i // columns + 0.5)
        sign = np.random.default_rng(int(product.integers(1 << 30)))
        if i == odd and fault == "missing":
            canvas.fill(canvas.box(x, y, step_x * 0.38, step_y * 0.38, 0.03), body * 0.4)
            continue
        if i == odd and fault == "misaligned":
            x, y = x + uniform(lots, 0.04, 0.08) * random_sign(lots), y + 0.05 * random_sign(lots)
        canvas.fill(canvas.box(x, y, step_x * 0.38, step_y * 0.38, 0.05), key, 6)
        misprint = lots if i == odd and fault == "misprint" else None
        draw_text(canvas, sign, misprint, x, y, step_y * 0.35, ink, letters=1)
    return canvas.out()


def ground_surface(product: Rng, picture: Rng) -> Array:
    """Ground or sawn material: fine parallel marks over broad light and dark areas."""
    colour = random_colour(product, 0.25, 0.85, 0.8, 0.25)
    fine = fractal_noise(picture, (2, 1.5), 0.7)
    stretched = np.repeat(noise(picture, uniform(product, 3, 8))[:, :1], fine.shape[1], axis=1)
    if product.random() < 0.5:
        stretched = stretched.T
    broad = fractal_noise(picture, (uniform(product, 50, 110), 25), 0.5)
    light = 1 + 0.03 * fine + uniform(product, 0, 0.08) * stretched
    light = light + uniform(product, 0.02, 0.12) * broad
    return np.clip(colour * light[..., None], 0, 1)
