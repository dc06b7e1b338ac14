"""The panels: controls above a picture, one for each notebook."""
