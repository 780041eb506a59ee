"""Point clouds: reading them, and turning each into depth maps that an image encoder takes."""
