"""Photographs from a name, a path, bytes or an array."""
