"""Exercises that check themselves, and four functions for the tests of graded labs."""

from vizhelpers.exercises.comparison import same
from vizhelpers.exercises.lab_calls import calls
from vizhelpers.exercises.public import check, hint, progress, solution
from vizhelpers.exercises.values import damage, plain

__all__ = ["calls", "check", "damage", "hint", "plain", "progress", "same", "solution"]
