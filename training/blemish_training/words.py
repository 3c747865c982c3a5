"""The texts that pictures are compared with: prompt ensembles, captions and names of defects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pictures.families import TYPES

# States and templates of WinCLIP (arXiv 2303.14814, appendix): what the program asks later.
NORMAL = [
    "{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect",
    "{} without damage",
]  # fmt: skip
ANOMALOUS = ["damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage"]
TEMPLATES = [
    "a cropped photo of the {}.", "a cropped photo of a {}.", "a close-up photo of a {}.",
    "a close-up photo of the {}.", "a bright photo of a {}.", "a bright photo of the {}.",
    "a dark photo of the {}.", "a dark photo of a {}.", "a jpeg corrupted photo of a {}.",
    "a jpeg corrupted photo of the {}.", "a blurry photo of the {}.", "a blurry photo of a {}.",
    "a photo of a {}.", "a photo of the {}.", "a photo of a small {}.",
    "a photo of the small {}.", "a photo of a large {}.", "a photo of the large {}.",
    "a photo of a {} for visual inspection.", "a photo of the {} for visual inspection.",
    "a photo of a {} for anomaly detection.", "a photo of the {} for anomaly detection.",
]  # fmt: skip

# What people write besides.
OTHER_NORMAL = [
    "normal {}", "good {}", "intact {}", "clean {}", "undamaged {}", "{} in good condition",
    "{} without any anomaly", "defect-free {}",
]  # fmt: skip
OTHER_ANOMALOUS = [
    "defective {}", "faulty {}", "anomalous {}", "{} with a defect", "{} with an anomaly",
    "{} in bad condition", "abnormal {}", "{} with a fault", "flawed {}", "imperfect {}",
    "blemished {}",
]  # fmt: skip
OTHER_TEMPLATES = [
    "{}", "{}.", "there is a {} in the scene.", "an image of a {}.",
    "a black and white photo of the {}.", "a low resolution photo of a {}.",
    "this is the {} in the scene.", "a photo of one {}.", "a photo of my {}.",
    "a good photo of a {}.", "a bad photo of the {}.",
]  # fmt: skip

DEFECTS = {
    "scratch": ["{} with a scratch", "scratched {}", "{} with scratches"],
    "crack": ["{} with a crack", "cracked {}", "{} with cracks"],
    "hole": ["{} with a hole", "{} with a puncture", "punctured {}"],
    "dent": ["{} with a dent", "dented {}", "{} with a bump"],
    "stain": ["{} with a stain", "stained {}", "{} with a spot", "dirty {}", "{} with an oil stain"],
    "contamination": [
        "contaminated {}", "{} with contamination", "{} with a foreign particle",
        "{} with a fibre", "{} with dust",
    ],
    "discoloration": [
        "discolored {}", "{} with discoloration", "{} with a color defect",
        "{} with a wrong color area",
    ],
    "patch": [
        "{} with a damaged texture", "{} with a pasted patch", "{} with a disturbed pattern",
        "{} with a texture defect",
    ],
    "cut": ["{} with a cut", "cut {}", "torn {}", "{} with a tear"],
    "poke": ["{} with a poke", "poked {}", "{} with pinholes", "{} with a pinhole"],
    "rust": ["rusty {}", "{} with rust", "corroded {}"],
    "chip": ["chipped {}", "{} with a chip", "{} with a chipped edge"],
    "broken": [
        "{} with a broken piece", "shattered {}", "{} with a large break", "{} with a broken part",
    ],
    "bent": ["bent {}", "deformed {}", "warped {}", "{} with a bent part"],
    "missing": [
        "{} with a missing part", "{} with a missing component", "incomplete {}",
        "{} with something missing",
    ],
    "extra": ["{} with an extra part", "{} with an additional component", "{} with one too many"],
    "misaligned": [
        "misaligned {}", "{} with a misplaced part", "{} with a shifted component",
        "{} with a rotated part",
    ],
    "wrong": ["{} with a wrong part", "{} with a swapped component", "{} with an incorrect part"],
    "misprint": [
        "misprinted {}", "{} with a misprint", "{} with a faulty imprint",
        "{} with a print defect",
    ],
    "wrinkle": ["wrinkled {}", "{} with a fold", "{} with a wrinkle", "creased {}"],
    "glue": ["{} with glue", "{} with a glue residue", "{} with a glue strip"],
}  # fmt: skip

GENERIC = [
    "object", "product", "part", "item", "surface", "workpiece", "sample", "component",
    "texture", "material", "thing", "unit", "piece", "device", "industrial product",
    "manufactured part",
]  # fmt: skip
SYLLABLES = [
    "ba", "ko", "ri", "tu", "ze", "mon", "lar", "pik", "do", "va", "sen", "tra", "qu", "ix", "om",
    "gel", "fen", "hu", "nor", "sta", "ply", "wid", "chi", "er", "ol", "an", "ent", "ing", "cas",
    "met",
]  # fmt: skip
MATERIALS = [
    "metal", "plastic", "rubber", "glass", "steel", "wooden", "small", "black", "white", "printed",
]  # fmt: skip


def choose(lots: np.random.Generator, options: list[str]) -> str:
    """One of the options."""
    return options[lots.integers(len(options))]


def made_up_name(lots: np.random.Generator) -> str:
    """A product name that means nothing: unseen names must work too."""
    if lots.random() < 0.65:
        name = "".join(choose(lots, SYLLABLES) for _ in range(lots.integers(2, 4)))
    else:
        name = "".join(chr(97 + lots.integers(26)) for _ in range(lots.integers(3, 8)))
    if lots.random() < 0.2:
        name += str(lots.integers(1, 10))
    if lots.random() < 0.25:
        name = f"{choose(lots, MATERIALS)} {name}"
    return name


def any_name(lots: np.random.Generator) -> str:
    """A generic word, or a made-up name."""
    return choose(lots, GENERIC) if lots.random() < 0.5 else made_up_name(lots)


@dataclass(frozen=True)
class Ensemble:
    """The normal and the anomalous prompts of one product name."""

    normal: list[str]
    anomalous: list[str]


def ensemble(name: str, lots: np.random.Generator) -> Ensemble:
    """A prompt ensemble with one random template per state, to save time."""
    normal, anomalous = NORMAL, ANOMALOUS
    if lots.random() < 0.3:
        normal = normal[:3] + [str(s) for s in lots.permutation(OTHER_NORMAL)[:4]]
        anomalous = anomalous[:1] + [str(s) for s in lots.permutation(OTHER_ANOMALOUS)[:4]]
    templates = TEMPLATES if lots.random() < 0.8 else OTHER_TEMPLATES

    def texts(states: list[str]) -> list[str]:
        return [choose(lots, templates).format(state.format(name)) for state in states]

    return Ensemble(texts(normal), texts(anomalous))


@dataclass(frozen=True)
class Caption:
    """A text about a picture. None: it fits any family, or any defect."""

    text: str
    family: str | None
    defect: str | None


def caption(family: str, names: list[str], defect: str, lots: np.random.Generator) -> Caption:
    """A caption of a picture of a family, with its defect ("good" without one)."""
    named = lots.random() < 0.7
    name = choose(lots, names) if named else any_name(lots)
    templates = TEMPLATES if lots.random() < 0.7 else OTHER_TEMPLATES
    about: str | None = defect
    if defect == "good":
        state = choose(lots, NORMAL + OTHER_NORMAL)
    elif lots.random() < 0.7:
        state = choose(lots, DEFECTS[defect])
    else:
        state, about = choose(lots, ANOMALOUS + OTHER_ANOMALOUS), None
    text = choose(lots, templates).format(state.format(name))
    return Caption(text, family if named else None, about)


def type_texts(name: str, lots: np.random.Generator) -> list[str]:
    """One text per entry of TYPES, all with the same name and template."""
    template = choose(lots, TEMPLATES)
    states = [choose(lots, NORMAL if t == "good" else DEFECTS[t]) for t in TYPES]
    return [template.format(state.format(name)) for state in states]


def full_ensemble(name: str) -> Ensemble:
    """Every state in every template, as the program asks."""

    def texts(states: list[str]) -> list[str]:
        return [template.format(state.format(name)) for state in states for template in TEMPLATES]

    return Ensemble(texts(NORMAL), texts(ANOMALOUS))
