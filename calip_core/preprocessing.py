"""CLIP's normalisation of an image's pixels before encoding."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Means of the red, green and blue values of photographs, from 0 to 1 (openai/CLIP, ``clip/clip.py``,
``_transform``)."""
STD = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviations."""
