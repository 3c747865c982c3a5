"""Finds defects in product photos with text prompts. Results are those of the command line."""

from ._blemish import BlemishError, Model, Mutual, Product, Profile, Scored, __version__, enroll

__all__ = [
    "BlemishError",
    "Model",
    "Mutual",
    "Product",
    "Profile",
    "Scored",
    "__version__",
    "enroll",
]
