"""Drawing: frames with named axes become pictures. Knows no torch and no models."""
