"""Load photographs from a name, a path, bytes or an array."""
