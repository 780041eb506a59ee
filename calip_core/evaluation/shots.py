"""What happens to a class that has fewer images than shots; a sweep reads it without torch."""

from typing import Literal

Short = Literal["error", "take", "repeat", "dassl"]
"""How to handle a class with fewer images than shots: refuse it, take all images in an order that is drawn, draw images
repeatedly, or take all images without drawing.

The last two are rules of Dassl, the toolbox that CoOp runs on (``generate_fewshot_dataset``). It repeated images until
2021-10-09, and copies such as GDA's still do. Since then it takes them without drawing. This leaves the random stream
untouched, so the classes behind a short one are drawn otherwise than by the other rules.
"""
