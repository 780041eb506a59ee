"""A figure that a range input changes: it takes mouse, touch and keyboard, and needs no library in the page."""

from collections.abc import Sequence
from html import escape
from typing import Any

from calip_core.exhibits.exhibit import Plot

_CHANGE = (
    "const f=this.closest('.calip-slider'),n=this.dataset.labels.split('|')[this.value];"
    "f.querySelectorAll('figure').forEach((g,i)=>{g.style.display=i==this.value?'':'none'});"
    "f.querySelector('output').value=n;this.setAttribute('aria-valuetext',n)"
)


class Slider:
    """Frames of a figure, one visible at a time; where outputs lose their inputs, the first one stays."""

    def __init__(self, name: str, labels: Sequence[str], frames: Sequence[Plot], *, start: int = 0) -> None:
        """Keep the frames.

        Args:
            name: what the slider sets, such as "temperature".
            labels: its values, one per frame.
            frames: the figures, all of one size, each with its own alternative text; the caption of the first is shown.
            start: the frame shown at first.

        Raises:
            ValueError: labels and frames differ in number, or there are none.
        """
        if not frames or len(labels) != len(frames):
            raise ValueError(f"{len(labels)} labels for {len(frames)} frames: expected as many, and at least one")
        self.name, self.labels, self.frames, self.start = name, tuple(labels), tuple(frames), start

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = self.frames[self.start]
        images = [plot._repr_mimebundle_()["text/html"] for plot in self.frames]
        images = [html if i == self.start else html.replace("<figure", '<figure style="display:none"', 1)
                  for i, html in enumerate(images)]  # fmt: skip
        label = escape(self.labels[self.start])
        control = (
            f'<label>{escape(self.name)} = <output>{label}</output> <input type="range" min="0" '
            f'max="{len(self.frames) - 1}" step="1" value="{self.start}" aria-valuetext="{label}" '
            f'data-labels="{escape("|".join(self.labels))}" oninput="{escape(_CHANGE)}"></label>'
        )
        html = f'<div class="calip-slider">{control}{"".join(images)}</div>'
        return {"text/html": html, "text/plain": f"[slider: {self.name}] {shown.alt}"}
