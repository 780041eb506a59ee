"""Point-cloud datasets, and their projection to image tasks."""
