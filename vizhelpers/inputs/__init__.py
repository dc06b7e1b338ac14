"""Validate what a caller passes: models, photographs, layers, classes."""
