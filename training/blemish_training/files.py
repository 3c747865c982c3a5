"""Small helpers for files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def readable(path: Path) -> None:
    """Gives a file the usual rights. safetensors writes files that only their owner can read."""
    path.chmod(0o644)
