"""Procedural inspection pictures: pairs of a normal and an anomalous picture, with masks."""
