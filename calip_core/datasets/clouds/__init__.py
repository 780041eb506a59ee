"""Point-cloud datasets, and how clouds become tasks of images."""
