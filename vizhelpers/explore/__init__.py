"""The panels: ``explore_X`` is in ``X.py``, and declares the controls above what ``X`` makes."""
