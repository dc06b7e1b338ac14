"""Exercises that check themselves, and what the graded labs are scored with."""

from vizhelpers.labs.plain import damage, plain
from vizhelpers.labs.teacher import check, hint, progress, solution

__all__ = ["check", "damage", "hint", "plain", "progress", "solution"]
