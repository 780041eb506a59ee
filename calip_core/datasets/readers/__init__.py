"""Readers of the image datasets on disk, in CoOp's layout or torchvision's."""
