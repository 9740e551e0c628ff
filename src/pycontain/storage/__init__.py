"""Layers, overlay roots, the container directory."""
