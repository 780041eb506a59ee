"""What chapter 4's second panel shows: the measured map of the window, and the closed form's factors at its points."""

from typing import Any

from calip_core.analysis import synthetic
from calip_core.exhibits.window import clear_gains


def data() -> dict[str, Any]:
    """The chapter's map, with the three factors of the right class's lead in the text-attended term."""
    model = synthetic.TokenModel(distractors=0.0)
    diagram = synthetic.phase_diagram(model, spreads=synthetic.SPREADS, seed=0)
    columns = ["spread", "share", "alpha", "images", "clip", "calip", "gain", "gain_low", "gain_high", "only_calip",
               "only_clip", "beta2", "beta3"]  # fmt: skip
    rows = diagram[columns].assign(clear=clear_gains(diagram)).to_dict("records")
    return {
        "spreads": sorted(diagram["spread"].unique().tolist()),
        "shares": sorted(diagram["share"].unique().tolist()),
        "alphas": sorted(diagram["alpha"].unique().tolist()),
        "rows": [row | {"factors": factors(model, row["spread"], row["share"], row["alpha"])} for row in rows],
    }


def factors(model: synthetic.TokenModel, spread: float, share: float, alpha: float) -> list[float]:
    """The factors of the lead in the model without noise: the object's own direction, F_v . t_y, and w_y - w_k.

    Moving tokens towards their mean shortens what an object's token adds, a, by the spread, and leaves the pool alone.
    The background has no preferred side: on average, F_v . t_y is rho a.
    """
    own = spread * model.strength
    right, other = (float(synthetic.weight_on_object(share, gap, alpha)) for gap in (own, model.common * own))
    return [own, share * model.strength, right - other]
