"""Surfaces that fill the whole picture, and the backgrounds that objects lie on.

In every function `product` decides what all pictures of one product share, such as its colours,
and `picture` decides what differs from picture to picture, such as where a pattern starts.
"""

import math

import cv2
import numpy as np

from .drawing import (
    SIDE,
    XX,
    YY,
    Array,
    Canvas,
    Rng,
    contrasting_colour,
    fractal_noise,
    hsv_within,
    mix,
    noise,
    random_colour,
    rotated,
    shade,
    triangle_wave,
    uniform,
)

# Many lengths were chosen with these roundings of two pi and half pi, which the pictures depend on.
TURN = 6.283
RIGHT_ANGLE = 1.57


def placed(picture: Rng, angle: float, wobble: float) -> tuple[Array, Array]:
    """Coordinates at about this angle, with a random origin somewhere in the picture."""
    turn = angle + uniform(picture, -wobble, wobble)
    return rotated(turn, 1, uniform(picture, 0, SIDE), uniform(picture, 0, SIDE))


def whole_picture(colour: Array) -> Array:
    """A picture of one colour, not to be written to."""
    return np.broadcast_to(colour, (SIDE, SIDE, 3))


def distance_to_lines(x: Array, spacing: float) -> Array:
    """The distance to the nearest of many parallel lines."""
    return np.abs(x / spacing - np.round(x / spacing)) * spacing


def streaks(picture: Rng, width: int, height: int) -> Array:
    """Fine noise smeared over boxes of this size."""
    return cv2.blur(noise(picture, 1), (width, height))


# Cloth and other soft surfaces


def woven_fabric(product: Rng, picture: Rng) -> Array:
    """Threads that go over and under each other, in two shades of one colour."""
    bright = random_colour(product)
    dark = np.clip(bright * uniform(product, 0.4, 0.8), 0, 1)
    thread = uniform(product, 5, 16)
    angle = uniform(product, 0, 3.14) if product.random() < 0.5 else 0
    x, y = placed(picture, angle, 0.05)
    warp = noise(picture, 40) * uniform(product, 0, 1.2)
    x = x + warp
    y = y + warp
    even = np.floor(x / thread) % 2 == np.floor(y / thread) % 2
    height = np.where(even, np.cos(TURN * x / thread), np.cos(TURN * y / thread))
    return mix(bright, dark, np.clip(0.5 + 0.5 * height + 0.12 * noise(picture, 2), 0, 1))


def twill(product: Rng, picture: Rng) -> Array:
    """Slanted ribs that are crossed by weaker bands, as in denim."""
    colour = random_colour(product)
    if product.random() < 0.5:
        other = contrasting_colour(product, colour, 0.2)
    else:
        other = colour * 0.5
    rib = uniform(product, 5, 14)
    x, y = placed(picture, uniform(product, 0.4, 1.2), 0.04)
    warp = noise(picture, 30)
    bands = np.where(np.sin(TURN * y / (rib * 1.7)) > 0, 1, 0.6)
    height = 0.5 + 0.5 * np.sin(TURN * (x + warp) / rib) * bands
    return mix(colour, other, np.clip(height + 0.15 * noise(picture, 1.6), 0, 1))


def carpet(product: Rng, picture: Rng) -> Array:
    """Short pile in two shades of one colour."""
    bright = random_colour(product)
    dark = np.clip(bright * uniform(product, 0.3, 0.6), 0, 1)
    cells = (uniform(product, 2, 3), uniform(product, 4, 7))
    pile = fractal_noise(picture, cells) + 0.3 * noise(picture, 1)
    return mix(bright, dark, np.clip(0.45 + 0.3 * pile, 0, 1))


def leather(product: Rng, picture: Rng) -> Array:
    """Grain with dark creases."""
    colour = random_colour(product, high=0.8)
    grain = uniform(product, 6, 14)
    creases = np.minimum(np.abs(noise(picture, grain)), np.abs(noise(picture, grain * 0.8)))
    creases = np.clip(creases * uniform(product, 2, 4), 0, 1)
    light = 0.65 + 0.35 * creases + 0.04 * noise(picture, 3) + 0.05 * noise(picture, 60)
    return shade(colour, light)


def striped_cloth(product: Rng, picture: Rng) -> Array:
    """Stripes in four colours on a fine weave."""
    colours = [random_colour(product) for _ in range(4)]
    stripe = uniform(product, 18, 70)
    angle = product.choice([0, RIGHT_ANGLE, uniform(product, 0, 3.1)])
    x, y = placed(picture, angle, 0.03)
    index = (np.floor((x + noise(picture, 60)) / stripe) % len(colours)).astype(int)
    weave = np.cos(TURN * x / 3.3) * np.cos(TURN * y / 3.3)
    return shade(np.stack(colours)[index], 1 + 0.12 * weave + 0.06 * noise(picture, 2))


def corduroy(product: Rng, picture: Rng) -> Array:
    """Soft parallel ribs."""
    colour = random_colour(product)
    rib = uniform(product, 9, 24)
    x, _ = placed(picture, product.choice([0, RIGHT_ANGLE]), 0.05)
    ribs = np.cos(TURN * (x + noise(picture, 50) * 1.2) / rib)
    return shade(colour, 0.72 + 0.28 * ribs + 0.1 * noise(picture, 1.8))


def foam(product: Rng, picture: Rng) -> Array:
    """A plain surface with dark pores."""
    colour = random_colour(product, 0.4, 0.95)
    hills = noise(picture, uniform(product, 4, 10))
    pores = np.clip((hills - 0.9) * 2, 0, 1)
    return shade(colour, 1 + 0.06 * noise(picture, 3) - 0.5 * pores)


# Wood and paper


def wood(product: Rng, picture: Rng) -> Array:
    """Growth rings and fibres along or across the picture."""
    bright = hsv_within(product, (0.03, 0.12), (0.2, 0.7), (0.4, 0.9))
    dark = bright * uniform(product, 0.45, 0.8)
    ring = uniform(product, 8, 36)
    angle = 0 if product.random() < 0.5 else RIGHT_ANGLE
    _, y = placed(picture, angle, 0.06)
    bends = noise(picture, 70) * uniform(product, 6, 25) + noise(picture, 25) * 2
    rings = triangle_wave((y + bends) / ring + 0.05 * noise(picture, 12))
    fibres = streaks(picture, 25, 1) if angle == 0 else streaks(picture, 1, 25)
    return np.clip(mix(bright, dark, np.clip(rings * 0.8 + fibres * 0.5, 0, 1)), 0, 1)


def paper(product: Rng, picture: Rng) -> Array:
    """A bright, slightly cloudy sheet."""
    colour = random_colour(product, 0.6, 1, 0.4, 0.3)
    clouds = uniform(product, 0.01, 0.05) * fractal_noise(picture, (20, 6, 2), 0.9)
    return shade(colour, 1 + clouds + 0.02 * noise(picture, 1))


def cardboard(product: Rng, picture: Rng) -> Array:
    """Brown board with faint ridges."""
    colour = hsv_within(product, (0.06, 0.11), (0.25, 0.55), (0.5, 0.8))
    fibres = streaks(picture, 7, 3)
    ridge = uniform(product, 6, 14)
    ridges = np.sin(6.28 * (YY + picture.random() * 9) / ridge)
    return shade(colour, 1 + 0.06 * fibres + 0.03 * ridges + 0.03 * noise(picture, 40))


# Metal


def brushed_metal(product: Rng, picture: Rng) -> Array:
    """Long streaks and broad soft reflections."""
    colour = random_colour(product, 0.35, 0.85, 0.7, 0.25)
    length = int(uniform(product, 15, 90))
    across = product.random() < 0.5
    fibres = streaks(picture, length, 1) if across else streaks(picture, 1, length)
    fibres = fibres * math.sqrt(length) * uniform(product, 0.03, 0.1)
    place = (XX if across else YY) / SIDE
    strength = uniform(product, -0.25, 0.25)
    waves = np.cos(6.28 * (place + picture.random()) * uniform(product, 0.3, 1.2))
    return shade(colour, 1 + fibres + strength * waves + 0.02 * noise(picture, 50))


def rolled_steel(product: Rng, picture: Rng) -> Array:
    """A matt sheet with short vertical streaks and faint clouds."""
    colour = random_colour(product, 0.3, 0.8, 0.8, 0.2)
    length = int(uniform(product, 5, 20))
    fibres = streaks(picture, 1, length) * uniform(product, 0.05, 0.15)
    clouds = fractal_noise(picture, (40, 14, 5)) * uniform(product, 0.02, 0.08)
    return shade(colour, 1 + (fibres + clouds))


def perforated_plate(product: Rng, picture: Rng) -> Array:
    """A plate with rows of round or square holes."""
    colour = random_colour(product, 0.35, 0.9, 0.6, 0.5)
    if colour.mean() > 0.4:
        behind = random_colour(product, 0.02, 0.25)
    else:
        behind = random_colour(product, 0.6, 0.95)
    spacing = uniform(product, 14, 36)
    radius = spacing * uniform(product, 0.2, 0.38)
    staggered = product.random() < 0.5
    square = product.random() < 0.25
    x, y = placed(picture, uniform(product, 0, 0.8), 0.05)
    row_height = spacing * (0.866 if staggered else 1)
    row = np.floor(y / row_height)
    x = x + (row % 2) * (spacing / 2 if staggered else 0)
    across = x - np.floor(x / spacing) * spacing - spacing / 2
    down = y - row * row_height - row_height / 2
    if square:
        distance = np.maximum(abs(across), abs(down)) - radius * 0.9
    else:
        distance = np.sqrt(across * across + down * down) - radius
    rim = np.clip(1 - np.abs(distance - 1.5), 0, 1) * np.sign(down)
    plate = shade(colour, 1 + 0.05 * fractal_noise(picture, (50, 12, 3)) + 0.25 * rim)
    return mix(plate, behind, np.clip(0.5 - distance, 0, 1))


def wire_mesh(product: Rng, picture: Rng) -> Array:
    """Round wires that cross in front of a plain background."""
    colour = random_colour(product, 0.3, 0.9)
    behind = contrasting_colour(product, colour, 0.35)
    spacing = uniform(product, 12, 36)
    wire = spacing * uniform(product, 0.1, 0.3)
    x, y = placed(picture, uniform(product, 0, 1.57), 0.04)
    warp = noise(picture, 60) * uniform(product, 0, 1.5)
    lines = ((distance_to_lines(x + warp, spacing), y), (distance_to_lines(y + warp, spacing), x))
    mesh = whole_picture(behind).astype(np.float32) * (1 + 0.06 * noise(picture, 30))[..., None]
    for distance, along in lines:
        cover = np.clip(wire - distance + 0.5, 0, 1)[..., None]
        roundness = (1 - 0.6 * (distance / wire) ** 2).clip(0.2, 1)
        twist = 1 + 0.15 * np.sin(6.28 * along / spacing)
        mesh = mesh * (1 - cover) + shade(colour, roundness * twist) * cover
    return mesh


def tread_plate(product: Rng, picture: Rng) -> Array:
    """A steel plate with raised bars that alternate in direction."""
    colour = random_colour(product, 0.3, 0.8, 0.8, 0.3)
    spacing = uniform(product, 24, 44)
    x, y = placed(picture, 0.785, 0.05)
    column = np.floor(x / spacing)
    row = np.floor(y / spacing)
    across = x - column * spacing - spacing / 2
    down = y - row * spacing - spacing / 2
    even = (column + row) % 2 == 0
    along = np.where(even, across, down) / (spacing * 0.42)
    aside = np.where(even, down, across) / (spacing * 0.14)
    distance = np.sqrt(along**2 + aside**2) - 1
    height = np.clip(0.5 - distance * 4, 0, 1)
    edges = cv2.Sobel(height, cv2.CV_32F, 1, 1, ksize=3)
    clouds = fractal_noise(picture, (30, 8, 2))
    return shade(colour, 1 + 0.3 * edges + 0.12 * height + 0.04 * clouds)


# Stone and other building materials


def tile(product: Rng, picture: Rng) -> Array:
    """Square or wide tiles, in line or shifted from row to row, with joints between them."""
    colour = random_colour(product)
    joint_colour = contrasting_colour(product, colour, 0.15)
    width = uniform(product, 50, 130)
    height = width * (1 if product.random() < 0.6 else 0.5)
    joint = uniform(product, 1, 4)
    x, y = placed(picture, 0, 0.04)
    shift = 0.5 if product.random() < 0.3 else 0
    row = np.floor(y / height)
    x = x + row * shift * width
    to_side = width * 0.5 - np.abs(x - np.floor(x / width) * width - width * 0.5)
    to_top = height * 0.5 - np.abs(y - row * height - height * 0.5)
    to_edge = np.minimum(to_side, to_top)
    cover = np.clip(to_edge - joint + 0.5, 0, 1)[..., None]
    clouds = uniform(product, 0.01, 0.1) * fractal_noise(picture, (60, 20, 6))
    edge = 0.06 * np.clip((8 - to_edge) / 8, 0, 1) * product.random()
    return shade(colour, 1 + clouds + edge) * cover + joint_colour * (1 - cover)


def marble(product: Rng, picture: Rng) -> Array:
    """A pale slab with veins."""
    colour = random_colour(product, 0.5, 1, 0.6, 0.4)
    vein_colour = contrasting_colour(product, colour, 0.2)
    clouds = fractal_noise(picture, (80, 40, 20, 10, 5))
    x, _ = rotated(uniform(picture, 0, 3.14))
    waves = np.sin(x * uniform(product, 0.01, 0.04) + clouds * uniform(product, 1.5, 3))
    body = np.abs(waves) ** uniform(product, 0.2, 0.5)
    return mix(vein_colour, colour, np.clip(body + 0.06 * fractal_noise(picture, (6, 2)), 0, 1))


def concrete(product: Rng, picture: Rng) -> Array:
    """A cloudy grey surface, on half of the products with pits."""
    colour = random_colour(product, 0.3, 0.8, 0.8, 0.2)
    clouds = fractal_noise(picture, (60, 25, 10, 4, 2), 0.75)
    light = 1 + uniform(product, 0.05, 0.12) * clouds
    pits = noise(picture, 3)
    if product.random() < 0.5:
        light -= 0.25 * np.clip(pits - 2.0, 0, 1)
    return shade(colour, light)


def granite(product: Rng, picture: Rng) -> Array:
    """Grains in three colours."""
    colours = [random_colour(product, grey=0.6, saturation=0.4) for _ in range(3)]
    fine = noise(picture, uniform(product, 3, 7))
    coarse = noise(picture, uniform(product, 3, 9))
    stone = mix(colours[0], colours[1], np.clip(fine * 3 + 0.5, 0, 1))
    return mix(stone, colours[2], np.clip(coarse * 3 - 2, 0, 1))


def terrazzo(product: Rng, picture: Rng) -> Array:
    """Chips in three colours, set in a plain ground."""
    ground = random_colour(product, 0.5, 0.95, 0.5, 0.3)
    surface = whole_picture(ground)
    for colour in [random_colour(product, grey=0.3) for _ in range(3)]:
        hills = noise(picture, uniform(product, 7, 16))
        chips = np.clip((hills - uniform(product, 1.0, 1.5)) * 6, 0, 1)
        surface = mix(surface, colour, chips)
    return shade(surface, 1 + 0.02 * noise(picture, 2))


# Paint, glass and plastic


def painted_surface(product: Rng, picture: Rng) -> Array:
    """A plain, slightly uneven coat that gets darker to one side."""
    colour = random_colour(product, 0.15, 0.95, 0.2)
    bumps = noise(picture, uniform(product, 3, 9)) * uniform(product, 0.01, 0.05)
    slope = uniform(product, -0.3, 0.3)
    x, _ = rotated(uniform(picture, 0, 6.28))
    return shade(colour, 1 + bumps + slope * x / SIDE)


def solar_cell(product: Rng, picture: Rng) -> Array:
    """A dark wafer with thin fingers and broad bus bars."""
    colour = hsv_within(product, (0.55, 0.7), (0.0, 0.7), (0.15, 0.5))
    line_colour = random_colour(product, 0.6, 0.95, 0.8, 0.2)
    finger_spacing = uniform(product, 8, 22)
    bar_spacing = uniform(product, 60, 120)
    x, y = placed(picture, product.choice([0, RIGHT_ANGLE]), 0.02)
    hills = noise(picture, uniform(product, 12, 30))
    crystals = 0.12 * np.round(hills * 2) / 2 * product.random()
    wafer = shade(colour, 1 + crystals + 0.03 * noise(picture, 3))
    fingers = np.clip(1 - distance_to_lines(y, finger_spacing), 0, 1) * 0.7
    bars = np.clip(uniform(product, 2, 4) - distance_to_lines(x, bar_spacing), 0, 1)
    return mix(wafer, line_colour, np.maximum(fingers, bars))


def film(product: Rng, picture: Rng) -> Array:
    """A smooth sheet with one broad reflection."""
    colour = random_colour(product, 0.3, 0.95, 0.5, 0.4)
    x, _ = rotated(uniform(picture, 0, 6.28))
    strength = uniform(product, 0.05, 0.3)
    wave = np.sin(x * uniform(product, 0.005, 0.03) + picture.random() * 6)
    return shade(colour, 1 + strength * wave + 0.03 * noise(picture, 80))


def ribbed_sheet(product: Rng, picture: Rng) -> Array:
    """Hard parallel ribs."""
    colour = random_colour(product, 0.2, 0.9)
    rib = uniform(product, 10, 30)
    x, _ = placed(picture, product.choice([0, RIGHT_ANGLE]), 0.05)
    ribs = np.clip(np.sin(TURN * x / rib) * 3, -1, 1) * 0.18
    return shade(colour, 0.8 + ribs + 0.03 * noise(picture, 2) + 0.05 * noise(picture, 60))


# Backgrounds

BACKGROUNDS = (
    painted_surface,
    paper,
    concrete,
    woven_fabric,
    wood,
    brushed_metal,
    film,
    granite,
)


def background(product: Rng, picture: Rng) -> Array:
    """What an object lies on: a dark or a bright plain surface, or one of the textures."""
    kind = product.random()
    if kind < 0.3:
        colour = random_colour(product, 0.0, 0.2, 0.7)
        light = (1 + 0.05 * noise(picture, 60))[..., None]
        return whole_picture(colour) * light + 0.01
    if kind < 0.6:
        colour = random_colour(product, 0.7, 1, 0.7, 0.3)
        return shade(whole_picture(colour), 1 + 0.03 * noise(picture, 60))
    return BACKGROUNDS[product.integers(len(BACKGROUNDS))](product, picture)


def new_canvas(
    product: Rng, picture: Rng, smallest: float, largest: float, aligned: bool = False
) -> Canvas:
    """A canvas on a random background."""
    return Canvas(background(product, picture), product, picture, smallest, largest, aligned)
