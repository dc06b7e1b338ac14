"""What the package is worth against the source document's code, side by side in one run."""
