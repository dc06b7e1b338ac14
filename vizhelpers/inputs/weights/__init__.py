"""Where the weights of a model come from, and what is wrong with a checkpoint."""
