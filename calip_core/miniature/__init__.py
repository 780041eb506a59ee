"""The miniatures: small CLIP models that this repository trains and ships."""
