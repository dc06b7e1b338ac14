"""Load the weights of a model, and explain what is wrong with a checkpoint."""
