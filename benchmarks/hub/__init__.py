"""A class at the hub, measured: ``uv run python -m benchmarks.hub --students 20``."""
