import os
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

__version__: str

Path: TypeAlias = str | os.PathLike[str]
Photo: TypeAlias = Path | bytes | bytearray | npt.NDArray[np.uint8]
"""A file, the content of a file, or pixels [height, width, 3]."""

class BlemishError(Exception):
    """A photo, model or profile cannot be used."""

class Model:
    """A CLIP model, with its adapter if it has one.

    name: `tiny` is the embedded one. Others are short names, Hugging Face repositories or folders.
    """

    def __init__(
        self, name: str = "tiny", *, size: int | None = None, precision: str = "f32"
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...

class Scored:
    """The result of a photo."""

    @property
    def path(self) -> str:
        """The photo's file, or `photo`."""

    @property
    def score(self) -> float:
        """0 to 1, higher is more anomalous."""

    @property
    def p_value(self) -> float | None:
        """At most this share of good parts reaches such a score. None without a profile."""

    @property
    def verdict(self) -> str | None:
        """`ok`, `ng` or `uncertain`. None without a profile."""

    @property
    def defect(self) -> str | None:
        """The kind of defect that fits best."""

    @property
    def peak(self) -> tuple[int, int]:
        """Column and row of the most anomalous pixel."""

    @property
    def map(self) -> npt.NDArray[np.float32]:
        """[height, width], 0 to 1. NaN where the model saw nothing."""

    @property
    def overlay(self) -> bytes | None:
        """The heat map as PNG, if it was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, with the names of docs/output.md."""

class Product:
    """A product that is scored by prompts.

    name: a name, or several synonyms. prompts: a file, or the name of an embedded one.
    """

    def __init__(
        self,
        name: str | Sequence[str],
        *,
        model: Model | None = None,
        method: str | None = None,
        prompts: Path | None = None,
        detect: Sequence[str] = (),
        ignore: Sequence[str] = (),
        bit_depth: int = 16,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @overload
    def score(
        self,
        photos: list[Photo] | tuple[Photo, ...],
        *,
        overlay: bool = False,
        errors: Literal["raise"] = "raise",
    ) -> list[Scored]: ...
    @overload
    def score(
        self,
        photos: list[Photo] | tuple[Photo, ...],
        *,
        overlay: bool = False,
        errors: Literal["return"],
    ) -> list[Scored | Exception]: ...
    @overload
    def score(
        self, photos: Photo, *, overlay: bool = False, errors: Literal["raise"] = "raise"
    ) -> Scored:
        """Scores each photo by itself.

        errors: `raise`, or `return` for the exception in place of the result.
        """

    @overload
    def score(
        self, photos: Photo, *, overlay: bool = False, errors: Literal["return"]
    ) -> Scored | Exception: ...

class Mutual:
    """The photos of a folder, scored by each other: as `--method auto`; without prompts as `mutual`."""

    def __init__(self, product: Product, *, with_prompts: bool = True) -> None: ...
    @overload
    def score(
        self, photos: Sequence[Path], *, errors: Literal["raise"] = "raise"
    ) -> list[Scored]: ...
    @overload
    def score(
        self, photos: Sequence[Path], *, errors: Literal["return"]
    ) -> list[Scored | Exception]:
        """Compares all photos with each other.

        errors: `raise`, or `return` for the exception in place of the result.
        """

class Profile:
    """A product with photos of good parts, and the line between ok and ng."""

    def __init__(
        self, file: Path, *, model: Model | None = None, false_alarm: float | None = None
    ) -> None: ...
    def save(self, file: Path) -> None: ...
    @overload
    def score(
        self,
        photos: list[Photo] | tuple[Photo, ...],
        *,
        overlay: bool = False,
        errors: Literal["raise"] = "raise",
    ) -> list[Scored]: ...
    @overload
    def score(
        self,
        photos: list[Photo] | tuple[Photo, ...],
        *,
        overlay: bool = False,
        errors: Literal["return"],
    ) -> list[Scored | Exception]: ...
    @overload
    def score(
        self, photos: Photo, *, overlay: bool = False, errors: Literal["raise"] = "raise"
    ) -> Scored:
        """Scores each photo by itself.

        errors: `raise`, or `return` for the exception in place of the result.
        """

    @overload
    def score(
        self, photos: Photo, *, overlay: bool = False, errors: Literal["return"]
    ) -> Scored | Exception: ...
    @property
    def product(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def false_alarm(self) -> float | None: ...
    @property
    def line(self) -> float | None:
        """Photos above this score are ng. None if there are too few good photos."""

def enroll(
    product: Product,
    references: Sequence[Path],
    *,
    calibration: Sequence[Path] = (),
    reference_method: str | None = None,
    false_alarm: float = 0.05,
    simulate_damage: bool = True,
) -> Profile:
    """Makes a profile from photos of good parts."""
