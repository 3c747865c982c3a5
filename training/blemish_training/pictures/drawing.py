"""Tools to draw with: random colours, noise, signed distances, a canvas and lettering.

Pictures are float32 arrays of shape (SIDE, SIDE, 3) with values from 0 to 1, red first. Every
draw from a random generator counts: one more or one less changes all that comes after it.
"""

import math

import cv2
import numpy as np

# Pictures are drawn in many processes at once, so OpenCV's own threads would only get in the way.
cv2.setNumThreads(1)

Array = np.ndarray
Rng = np.random.Generator

SIDE = 240
YY, XX = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_COMPLEX,
)


# Numbers and noise


def uniform(rng: Rng, low: float, high: float) -> float:
    """A random number between low and high."""
    return low + (high - low) * rng.random()


def random_sign(rng: Rng) -> int:
    """Either 1 or -1."""
    return 1 if rng.random() < 0.5 else -1


def triangle_wave(x: Array) -> Array:
    """A zigzag between 0 and 1 with period 1; it is 1 where x is a whole number."""
    fraction = x - np.floor(x)
    return np.abs(2 * fraction - 1)


def noise(rng: Rng, cell: float) -> Array:
    """Smooth random hills about `cell` pixels wide, of standard deviation near 1."""
    if cell <= 1:
        return rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    knots = int(SIDE / cell) + 3
    grid = rng.standard_normal((knots, knots), dtype=np.float32)
    offset_x, offset_y = rng.random(2)
    matrix = np.array([[1 / cell, 0, offset_x], [0, 1 / cell, offset_y]], np.float32)
    return cv2.warpAffine(
        grid,
        matrix,
        (SIDE, SIDE),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )


def fractal_noise(rng: Rng, cells: tuple[float, ...], persistence: float = 0.6) -> Array:
    """A sum of noise of several widths, each `persistence` times as strong as the one before."""
    total = np.zeros((SIDE, SIDE), np.float32)
    weight = 1.0
    power = 0
    for cell in cells:
        total += weight * noise(rng, cell)
        power += weight * weight
        weight *= persistence
    return total / math.sqrt(power)


# Colours


def hsv(hue: float, saturation: float, value: float) -> Array:
    """The colour with this hue, saturation and value, all from 0 to 1."""
    sector = int(hue * 6)
    fraction = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - fraction * saturation)
    rising = value * (1 - (1 - fraction) * saturation)
    sectors = (
        (value, rising, low),
        (falling, value, low),
        (low, value, rising),
        (low, falling, value),
        (rising, low, value),
        (value, low, falling),
    )
    return np.array(sectors[sector % 6], np.float32)


def hsv_within(
    rng: Rng,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Array:
    """A colour with a random hue, saturation and value from these ranges."""
    return hsv(uniform(rng, *hue), uniform(rng, *saturation), uniform(rng, *value))


def random_colour(
    rng: Rng, low: float = 0.12, high: float = 0.95, grey: float = 0.35, saturation: float = 0.9
) -> Array:
    """A colour with a value from low to high: grey with chance `grey`, else up to `saturation`."""
    strength = 0.0 if rng.random() < grey else rng.random() ** 1.3 * saturation
    return hsv(rng.random(), strength, low + (high - low) * rng.random())


def contrasting_colour(rng: Rng, colour: Array, distance: float = 0.3) -> Array:
    """A random colour whose brightness is more than `distance` away from that of `colour`."""
    for _ in range(12):
        other = random_colour(rng)
        if abs(float(other.mean() - colour.mean())) > distance:
            return other
    return np.clip(1 - colour, 0, 1).astype(np.float32)


def metal_colour(rng: Rng) -> Array:
    """A fairly bright colour with little or no hue."""
    return random_colour(rng, 0.4, 0.9, 0.75, 0.3)


def mix(a: Array, b: Array, share: Array) -> Array:
    """Goes from `a` to `b`, pixel by pixel, as `share` goes from 0 to 1."""
    return a + (b - a) * share[..., None]


def shade(colour: Array, light: Array) -> Array:
    """The colour, darkened or brightened pixel by pixel."""
    return np.clip(colour * light[..., None], 0, 1)


# Places


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """The coordinates, turned about their origin."""
    cosine = math.cos(angle)
    sine = math.sin(angle)
    return x * cosine + y * sine, -x * sine + y * cosine


def rotated(
    angle: float, scale: float = 1, x: float = SIDE / 2, y: float = SIDE / 2
) -> tuple[Array, Array]:
    """Pixel coordinates about the point (x, y), turned by `angle` and divided by `scale`."""
    cosine = math.cos(angle) / scale
    sine = math.sin(angle) / scale
    across = XX - x
    down = YY - y
    return across * cosine + down * sine, -across * sine + down * cosine


# Signed distances: below zero inside the shape, above zero outside


def circle(x: Array, y: Array, centre_x: float, centre_y: float, radius: float) -> Array:
    """The signed distance to a circle."""
    return np.sqrt((x - centre_x) ** 2 + (y - centre_y) ** 2) - radius


def box(
    x: Array,
    y: Array,
    centre_x: float,
    centre_y: float,
    half_width: float,
    half_height: float,
    corner: float = 0,
) -> Array:
    """The signed distance to a rectangle whose corners are rounded with radius `corner`."""
    right = np.abs(x - centre_x) - half_width + corner
    below = np.abs(y - centre_y) - half_height + corner
    outside = np.sqrt(np.maximum(right, 0) ** 2 + np.maximum(below, 0) ** 2)
    return outside + np.minimum(np.maximum(right, below), 0) - corner


def segment(
    x: Array, y: Array, from_x: float, from_y: float, to_x: float, to_y: float, radius: float
) -> Array:
    """The signed distance to a line from one point to another, thick and with round ends."""
    across = x - from_x
    down = y - from_y
    length_x = to_x - from_x
    length_y = to_y - from_y
    squared_length = length_x * length_x + length_y * length_y + 1e-9
    share = np.clip((across * length_x + down * length_y) / squared_length, 0, 1)
    return np.sqrt((across - share * length_x) ** 2 + (down - share * length_y) ** 2) - radius


def polygon(x: Array, y: Array, corners: int, radius: float) -> Array:
    """The signed distance to a regular polygon about the origin; `radius` reaches its sides."""
    angle = np.arctan2(y, x)
    sector = 6.28318 / corners
    turn = np.cos(np.floor(0.5 + angle / sector) * sector - angle)
    return turn * np.sqrt(x * x + y * y) - radius


# The canvas and its lettering


class Canvas:
    """A background to draw one object on, with coordinates that turn and grow with the object.

    `x` and `y` are 0 at the object's centre and about 1 at the border of the picture; `pixels` is
    the length of one unit. `foreground` is how far each pixel belongs to the object, 0 to 1.
    """

    def __init__(
        self,
        background: Array,
        product: Rng,
        picture: Rng,
        smallest: float = 0.75,
        largest: float = 1.05,
        aligned: bool = False,
    ) -> None:
        """Chooses size, place and turn; half of the products turn freely, unless `aligned`."""
        self.image = np.array(background, np.float32)
        self.foreground = np.zeros((SIDE, SIDE), np.float32)
        aligned = aligned or product.random() < 0.5
        scale = uniform(product, smallest, largest) * uniform(picture, 0.96, 1.04)
        if aligned:
            turns = [0, 1.57, 3.14, uniform(product, 0, 6.28)]
            self.angle = product.choice(turns) + uniform(picture, -0.06, 0.06)
        else:
            self.angle = uniform(picture, 0, 6.28)
        jitter = 6 if aligned else 16
        self.pixels = SIDE / 2 * scale
        self.centre_x = SIDE / 2 + uniform(picture, -jitter, jitter)
        self.centre_y = SIDE / 2 + uniform(picture, -jitter, jitter)
        x, y = rotated(self.angle, 1, self.centre_x, self.centre_y)
        self.x = x / self.pixels
        self.y = y / self.pixels
        self.light_angle = uniform(product, 0, 6.28)
        self.shadow = product.random() < 0.5

    def circle(self, centre_x: float, centre_y: float, radius: float) -> Array:
        """The signed distance to a circle on this canvas."""
        return circle(self.x, self.y, centre_x, centre_y, radius)

    def box(
        self,
        centre_x: float,
        centre_y: float,
        half_width: float,
        half_height: float,
        corner: float = 0,
    ) -> Array:
        """The signed distance to a rounded rectangle on this canvas."""
        return box(self.x, self.y, centre_x, centre_y, half_width, half_height, corner)

    def segment(
        self, from_x: float, from_y: float, to_x: float, to_y: float, radius: float
    ) -> Array:
        """The signed distance to a thick line on this canvas."""
        return segment(self.x, self.y, from_x, from_y, to_x, to_y, radius)

    def fill(
        self,
        distance: Array,
        colour: Array,
        bevel: float = 0,
        texture: Array | None = None,
        foreground: bool = True,
        alpha: float = 1.0,
    ) -> None:
        """Paints the inside of a shape.

        `bevel` is the width in pixels of its rounded edge, `texture` is added to its light, and
        `foreground` says whether the shape counts as part of the object.
        """
        depth = distance * self.pixels
        mask = np.clip(0.5 - depth, 0, 1)
        if self.shadow and foreground and self.foreground.max() == 0:
            self._cast_shadow(mask)
        light = np.ones((SIDE, SIDE), np.float32)
        if texture is not None:
            light = light + texture
        if bevel:
            light = light + self._edge_light(depth, bevel)
        mask = mask * alpha
        self.image += (shade(colour, light) - self.image) * mask[..., None]
        if foreground:
            self.foreground = np.maximum(self.foreground, mask)

    def out(self) -> tuple[Array, Array]:
        """The finished picture and its foreground."""
        return np.clip(self.image, 0, 1), self.foreground

    def _cast_shadow(self, mask: Array) -> None:
        """Darkens the background below and to the right of a shape."""
        soft = cv2.GaussianBlur(mask, (0, 0), 6)
        self.image *= (1 - 0.45 * np.roll(soft, (4, 4), (0, 1)))[..., None]

    def _edge_light(self, depth: Array, bevel: float) -> Array:
        """How much light a rounded edge gains or loses."""
        inward = np.clip(-depth / bevel, 0, 1)
        height = np.sqrt(np.clip(1 - (1 - inward) ** 2, 0, 1)) * bevel
        slope_x = np.zeros_like(height)
        slope_y = np.zeros_like(height)
        slope_x[:, 1:-1] = height[:, 2:] - height[:, :-2]
        slope_y[1:-1] = height[2:] - height[:-2]
        slope = slope_x * math.cos(self.light_angle) + slope_y * math.sin(self.light_angle)
        return 0.22 * slope.clip(-1.6, 1.6)


def random_word(rng: Rng, letters: int) -> str:
    """A word of random capitals and digits."""
    word = ""
    for _ in range(letters):
        if rng.random() < 0.6:
            word += chr(ord("A") + rng.integers(26))
        else:
            word += chr(ord("0") + rng.integers(10))
    return word


def draw_text(
    canvas: Canvas,
    product: Rng,
    misprint: Rng | None,
    x: float,
    y: float,
    height: float,
    colour: Array,
    letters: int | None = None,
) -> None:
    """Prints a random word centred at (x, y), with a random fault where `misprint` is given."""
    letters = letters or int(product.integers(1, 5))
    font = FONTS[product.integers(len(FONTS))]
    word = random_word(product, letters)
    thickness = int(product.integers(1, 4))
    fault = None
    if misprint is not None:
        fault = ("blank", "other", "patchy", "double")[misprint.integers(4)]
        if fault == "blank" and letters == 1:
            fault = "other"
    if fault == "blank":
        gap = misprint.integers(letters)
        word = word[:gap] + " " + word[gap + 1 :]
    elif fault == "other":
        right = word
        while word == right:
            word = random_word(misprint, letters)
    stamp = _stamp(word, font, thickness)
    if fault == "patchy":
        size = (stamp.shape[1], stamp.shape[0])
        ink = cv2.resize(misprint.standard_normal((4, 8)).astype(np.float32), size) > -0.1
        stamp = stamp * ink.astype(np.uint8)
    elif fault == "double":
        shift = (int(misprint.integers(4, 10)), int(misprint.integers(6, 14)))
        stamp = np.maximum(stamp, np.roll(stamp, shift, (0, 1)))
        stamp = cv2.GaussianBlur(stamp, (0, 0), 2)
    mask = _placed(canvas, stamp, x, y, height)
    canvas.image += (colour - canvas.image) * mask[..., None]


def _stamp(word: str, font: int, thickness: int) -> Array:
    """The word in white on black, cropped to a narrow margin."""
    stamp = np.zeros((64, 64 + 40 * len(word)), np.uint8)
    scale = 3.2 if font == cv2.FONT_HERSHEY_PLAIN else 1.6
    cv2.putText(stamp, word, (8, 52), font, scale, 255, thickness + 1, cv2.LINE_AA)
    rows, columns = np.nonzero(stamp)
    top = max(rows.min() - 2, 0)
    left = max(columns.min() - 2, 0)
    return stamp[top : rows.max() + 3, left : columns.max() + 3]


def _placed(canvas: Canvas, stamp: Array, x: float, y: float, height: float) -> Array:
    """How far each pixel of the canvas is covered by the print at (x, y), 0 to 1."""
    rows, columns = stamp.shape
    scale = height * canvas.pixels / rows
    cosine = math.cos(canvas.angle)
    sine = math.sin(canvas.angle)
    left = canvas.centre_x + (x * cosine - y * sine) * canvas.pixels
    top = canvas.centre_y + (x * sine + y * cosine) * canvas.pixels
    left -= scale * (cosine * columns / 2 - sine * rows / 2)
    top -= scale * (sine * columns / 2 + cosine * rows / 2)
    matrix = np.array(
        [[scale * cosine, -scale * sine, left], [scale * sine, scale * cosine, top]], np.float32
    )
    method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    return cv2.warpAffine(stamp, matrix, (SIDE, SIDE), flags=method).astype(np.float32) / 255
