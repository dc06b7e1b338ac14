"""Worked answers: shown by ``viz.labs.solution``, word for word as they stand here."""
