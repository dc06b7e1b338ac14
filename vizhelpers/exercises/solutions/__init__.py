"""Worked answers, one file for each notebook; ``viz.solution`` shows their source unchanged."""
