"""Forward and backward passes of a model; the model is left unchanged."""
