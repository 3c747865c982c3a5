"""What is no defect: cluttered grounds, shadows, reflections and blur."""

import math

import cv2
import numpy as np

from .drawing import (
    SIDE,
    XX,
    YY,
    Array,
    Rng,
    box,
    circle,
    fractal_noise,
    mix,
    random_colour,
    rotated,
    segment,
    uniform,
)
from .textures import background


def clutter(product: Rng, picture: Rng) -> Array:
    """A workplace: a ground with rails, edges, bolts and half-seen parts."""
    image = np.array(background(product, picture), np.float32)
    x, y = rotated(uniform(product, 0, 3.14), SIDE / 2)
    for _ in range(int(product.integers(2, 9))):
        colour = random_colour(product)
        kind = product.integers(3)
        at_x, at_y = uniform(product, -1.2, 1.2), uniform(product, -1.2, 1.2)
        if kind == 0:
            shape = np.abs(y - at_y) - uniform(product, 0.01, 0.15)
        elif kind == 1:
            shape = circle(x, y, at_x, at_y, uniform(product, 0.03, 0.3))
        else:
            wide, high = uniform(product, 0.05, 0.5), uniform(product, 0.05, 0.4)
            shape = box(x, y, at_x, at_y, wide, high, uniform(product, 0, 0.05))
        cover = np.clip(0.5 - shape * SIDE / 2, 0, 1)
        light = 1 + 0.06 * fractal_noise(picture, (20, 4))
        image = mix(image, np.clip(colour * light[..., None], 0, 1), cover)
    if product.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), uniform(product, 0.8, 3))
    return image.astype(np.float32)


def disturbed(image: Array, lots: Rng) -> Array:
    """The picture with a shadow, a reflection, uneven light or a blurred side; often with none."""
    kind = lots.integers(8)
    if kind == 0:
        side = np.tanh(_slope(lots) * uniform(lots, 3, 40))
        image = image * (1 - uniform(lots, 0.08, 0.3) * (1 + side))[..., None]
    elif kind == 1:
        reach = uniform(lots, 15, 70)
        at = lots.uniform(0, SIDE, 4)
        shape = segment(XX, YY, *at, 1)
        light = np.exp(-((shape / reach) ** 2))
        image = image + uniform(lots, 0.05, 0.3) * light[..., None]
    elif kind == 2:
        weight = np.clip(0.5 + _slope(lots), 0, 1)
        soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), uniform(lots, 0.8, 2.5))
        image = mix(image, soft, weight)
    elif kind == 3:
        image = image * (1 + uniform(lots, 0.1, 0.45) * _slope(lots))[..., None]
    return np.clip(image, 0, 1).astype(np.float32)


def _slope(lots: Rng) -> Array:
    """A plane through a random point, about -1 to 1 over the picture."""
    turn = uniform(lots, 0, 6.28)
    at_x, at_y = lots.uniform(0.2, 0.8, 2) * SIDE
    return ((XX - at_x) * math.cos(turn) + (YY - at_y) * math.sin(turn)) / (SIDE / 2)
