"""Worked answers: shown by ``viz.solution``, word for word as they stand here."""
