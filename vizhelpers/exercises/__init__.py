"""Exercises that check themselves, and two functions for the tests of graded labs."""

from vizhelpers.exercises.public import check, hint, progress, solution
from vizhelpers.exercises.values import damage, plain

__all__ = ["check", "damage", "hint", "plain", "progress", "solution"]
