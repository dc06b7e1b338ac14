"""What a caller hands over: models, photographs, layers, classes; validated here, once."""
