"""The families of products that pictures are drawn of, and the types of defects."""

from collections.abc import Callable
from dataclasses import dataclass

from . import assemblies, electronics, machined, objects, textures

TYPES = (
    "good",
    "scratch",
    "crack",
    "hole",
    "dent",
    "stain",
    "contamination",
    "discoloration",
    "patch",
    "cut",
    "poke",
    "rust",
    "chip",
    "broken",
    "bent",
    "missing",
    "extra",
    "misaligned",
    "wrong",
    "misprint",
    "wrinkle",
    "glue",
)


@dataclass(frozen=True)
class Family:
    """A kind of product: how to draw it, what to call it and which defects its drawing knows.

    A texture fills the whole picture and is drawn from two generators, an object from a defect
    and a third generator as well. Photos are a family without a drawing.
    """

    draw: Callable | None
    names: tuple[str, ...]
    texture: bool
    structural_defects: tuple[str, ...] = ()


def _texture(draw: Callable, names: str) -> Family:
    """A family of surfaces; the names are separated by commas."""
    return Family(draw, tuple(names.split(", ")), texture=True)


def _object(draw: Callable, names: str, defects: str = "") -> Family:
    """A family of objects; the names and the structural defects are separated by commas."""
    structural_defects = tuple(defects.split(", ")) if defects else ()
    return Family(draw, tuple(names.split(", ")), False, structural_defects)


# The order matters, as families are numbered by it.
FAMILIES: dict[str, Family] = {
    "fabric": _texture(textures.woven_fabric, "woven fabric, fabric, canvas, cloth"),
    "denim": _texture(textures.twill, "denim, twill fabric, textile"),
    "carpet": _texture(textures.carpet, "carpet, rug, felt"),
    "leather": _texture(textures.leather, "leather, hide"),
    "wood": _texture(textures.wood, "wood, wooden board, plank"),
    "brushed metal": _texture(textures.brushed_metal, "brushed metal, metal sheet, steel surface"),
    "rolled steel": _texture(
        textures.rolled_steel, "rolled steel, hot rolled strip, metal surface"
    ),
    "tile": _texture(textures.tile, "tile, ceramic tile, tiles"),
    "marble": _texture(textures.marble, "marble, marble slab"),
    "concrete": _texture(textures.concrete, "concrete, cement, wall"),
    "granite": _texture(textures.granite, "granite, stone, stone slab"),
    "perforated plate": _texture(textures.perforated_plate, "perforated plate, perforated sheet"),
    "mesh": _texture(textures.wire_mesh, "wire mesh, grid, mesh, net"),
    "paper": _texture(textures.paper, "paper, sheet of paper"),
    "cardboard": _texture(textures.cardboard, "cardboard, carton"),
    "painted surface": _texture(
        textures.painted_surface, "painted surface, painted panel, coating, plastic surface"
    ),
    "striped cloth": _texture(textures.striped_cloth, "striped cloth, striped fabric, ribbon"),
    "corduroy": _texture(textures.corduroy, "corduroy, ribbed velvet"),
    "terrazzo": _texture(textures.terrazzo, "terrazzo, floor, countertop"),
    "solar cell": _texture(textures.solar_cell, "solar cell, solar panel, wafer"),
    "foam": _texture(textures.foam, "foam, sponge"),
    "film": _texture(textures.film, "film, glass, plastic film"),
    "ribbed sheet": _texture(textures.ribbed_sheet, "ribbed sheet, corrugated sheet, rubber mat"),
    "tread plate": _texture(textures.tread_plate, "tread plate, checker plate"),
    "bottle": _object(objects.bottle, "bottle, bottle neck, bottle opening"),
    "hex nut": _object(objects.hex_nut, "hex nut, metal nut, nut"),
    "washer": _object(objects.washer, "washer, metal ring, flange"),
    "screw": _object(objects.screw, "screw, bolt", "bent"),
    "pill": _object(objects.pill, "pill, tablet", "misprint"),
    "capsule": _object(objects.capsule, "capsule, gel capsule", "misprint"),
    "gear": _object(objects.gear, "gear, cog wheel, sprocket", "missing"),
    "bracket": _object(
        objects.bracket,
        "bracket, metal bracket, mounting plate, metal plate",
        "missing, misaligned",
    ),
    "connector": _object(electronics.connector, "connector, pin header, socket", "missing, bent"),
    "cable": _object(electronics.cable, "cable, cable cross section, wire", "missing, wrong"),
    "pcb": _object(
        assemblies.circuit_board,
        "pcb, circuit board, printed circuit board",
        "missing, extra, misaligned, wrong",
    ),
    "label": _object(
        objects.label, "label, sticker, printed label", "misprint, misaligned, missing"
    ),
    "zipper": _object(objects.zipper, "zipper, zip fastener", "missing, bent"),
    "can lid": _object(objects.can_lid, "can lid, tin lid", "missing, misaligned"),
    "biscuit": _object(objects.biscuit, "biscuit, cookie, cracker"),
    "tray": _object(
        assemblies.tray, "tray, tray of parts, assortment tray", "missing, extra, misaligned, wrong"
    ),
    "box": _object(
        assemblies.kit_box, "box, package, kit box", "missing, extra, misaligned, wrong"
    ),
    "bearing": _object(objects.bearing, "bearing, ball bearing", "missing"),
    "vial": _object(
        objects.vial, "vial, juice bottle, ampoule, jar", "wrong, missing, misaligned, misprint"
    ),
    "button": _object(objects.button, "button, shirt button", "missing"),
    "coin": _object(objects.coin, "coin, token, medal", "misprint"),
    "brush": _object(objects.brush, "toothbrush, brush", "missing, bent"),
    "transistor": _object(
        electronics.transistor,
        "transistor, electronic component",
        "missing, bent, misaligned, misprint",
    ),
    "chip": _object(
        electronics.chip, "chip, integrated circuit, microchip", "missing, bent, misprint"
    ),
    "resistor": _object(electronics.resistor, "resistor, fuse", "bent, missing, wrong"),
    "o-ring": _object(objects.o_ring, "o-ring, rubber seal, gasket"),
    "candles": _object(
        assemblies.candles, "candles, candle, macaroni", "missing, extra, misaligned, wrong"
    ),
    "plug": _object(electronics.plug, "plug, power plug, pipe fitting", "missing, bent"),
    "blister": _object(assemblies.blister_pack, "blister pack, pill pack", "missing, wrong"),
    "spring": _object(objects.spring, "spring, coil spring, breakfast box", "bent, misaligned"),
    "stamped plate": _object(
        machined.stamped_plate,
        "stamped plate, sheet metal part, metal plate",
        "missing, misaligned, misprint",
    ),
    "turned part": _object(
        machined.turned_part, "turned part, machined disc, metal disc", "missing"
    ),
    "commutator": _object(machined.commutator, "commutator, rotor, slotted ring", "missing"),
    "housing": _object(
        machined.glossy_housing, "housing, plastic cover, plastic part", "missing, misprint"
    ),
    "dial": _object(machined.dial, "dial, gauge, clock face", "missing, misprint"),
    "printed panel": _object(
        machined.printed_panel, "printed panel, name plate, front panel", "misprint, misaligned"
    ),
    "scored tablet": _object(machined.scored_tablet, "scored tablet, pill, tablet", "misprint"),
    "casting": _object(machined.casting, "casting, cast housing, metal part", "missing"),
    "keypad": _object(
        machined.keypad, "keypad, keyboard, remote control", "missing, misaligned, misprint"
    ),
    "ground surface": _texture(
        machined.ground_surface, "ground surface, machined surface, ground steel"
    ),
}

# Families that are never trained on, to see how well unknown products are checked.
HELD_OUT = (
    "leather",
    "marble",
    "perforated plate",
    "corduroy",
    "hex nut",
    "bottle",
    "capsule",
    "connector",
    "zipper",
    "can lid",
    "tray",
    "tread plate",
)
