"""What builds committed files (weights, photographs, notebooks, figures), and drives browsers."""
