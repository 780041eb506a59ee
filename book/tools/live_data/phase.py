"""What chapter 4's second panel shows: the measured map of the window, and what the lead lacks at each of its points."""

from typing import Any

from calip_core.analysis import synthetic
from calip_core.exhibits.window import clear_gains

_PERFECT = 0.99
"""Accuracy from which on CLIP leaves nothing to repair."""
_SMALL = 0.25
"""A factor counts as missing below this share of its largest value."""


def data() -> dict[str, Any]:
    """The chapter's map, with the factors of the right class's lead in the text-attended term."""
    model = synthetic.TokenModel(distractors=0.0)
    diagram = synthetic.phase_diagram(model, spreads=synthetic.SPREADS, seed=0)
    columns = ["spread", "share", "alpha", "images", "clip", "calip", "gain", "gain_low", "gain_high", "only_calip",
               "only_clip", "beta2", "beta3"]  # fmt: skip
    rows: list[dict[str, Any]] = diagram[columns].assign(clear=clear_gains(diagram)).to_dict("records")
    alphas, shares, spreads = (sorted(diagram[name].unique().tolist()) for name in ("alpha", "share", "spread"))
    for row in rows:
        at = row["spread"], row["share"]
        row["factors"] = factors(model, *at, row["alpha"])
        row["lacking"] = lacking(row, {alpha: factors(model, *at, alpha)[2] for alpha in alphas}, shares[-1])
    return {"spreads": spreads, "shares": shares, "alphas": alphas, "rows": rows}


def factors(model: synthetic.TokenModel, spread: float, share: float, alpha: float) -> list[float]:
    """The factors of the lead in the model without noise: what a token of the object adds, F_v . t_y, and w_y - w_k.

    Moving tokens towards their mean shortens what an object's token adds, a, by the spread, and leaves the pool alone.
    The background has no preferred side: on average, F_v . t_y is rho a.
    """
    own = spread * model.strength
    right, other = (float(synthetic.weight_on_object(share, gap, alpha)) for gap in (own, model.common * own))
    return [own, share * model.strength, right - other]


def lacking(row: dict[str, Any], by_alpha: dict[float, float], largest: float) -> str:
    """Why CALIP cannot gain at a point: its smallest factor, if that is small, unless CLIP makes no errors.

    Args:
        row: the point, with its factors and CLIP's accuracy.
        by_alpha: the third factor at each temperature, for the point's share and spread.
        largest: the largest share of the map.
    """
    if row["clip"] >= _PERFECT:
        return "errors"
    if row["share"] == 0:
        return "object"
    best = max(by_alpha, key=by_alpha.__getitem__)
    sizes = {
        "differ": row["spread"],
        "pool": row["share"] / largest,
        "low" if row["alpha"] < best else "high": row["factors"][2] / by_alpha[best],
    }
    smallest = min(sizes, key=sizes.__getitem__)
    return smallest if sizes[smallest] < _SMALL else "nothing"
