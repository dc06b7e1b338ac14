"""Exercises that check themselves, and what the graded labs are scored with."""

from vizhelpers.labs.teacher import check, hint, progress, solution
from vizhelpers.labs.values import damage, plain

__all__ = ["check", "damage", "hint", "plain", "progress", "solution"]
