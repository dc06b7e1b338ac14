"""More wrong answers of notebooks 04 to 06, by exercise and by the mistake that should be named."""

from collections.abc import Callable
from typing import Any

Answers = tuple[Any, ...]

WRONG: dict[str, list[tuple[str, Callable[[], Answers]]]] = {}
