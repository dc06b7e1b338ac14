"""A load test of the hub: ``uv run python -m benchmarks.hub --students 20``."""
