"""Panels: ``explore_X``, in ``X.py``, declares controls for the results of ``X``."""
