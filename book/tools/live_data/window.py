"""What chapter 4's two panels show: gains of CALIP while the pool is spoiled, and the map of the window."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from calip_core import CalipConfig, load_backbone, load_task
from calip_core.analysis import synthetic
from calip_core.analysis.window import AMOUNTS, pool_sweep, wide_grid
from calip_core.exhibits.exhibit import interval, percent, points
from calip_core.exhibits.window import clear_gains
from calip_core.metrics import LEVEL

BACKBONE, IMAGES, ALPHA = "mini-rn", 2000, 0.5
"""Those of chapter 4."""
TASKS = ("mini-pairs", "mini-shapes", "mini-textures", "digits")
_PERFECT = 0.99
"""Accuracy from which on CLIP leaves nothing to repair."""
_SMALL = 0.25
"""A factor counts as missing below this share of its largest value."""


def data() -> dict[str, Any]:
    """The numbers of the chapter's first figure and table, and of its map."""
    models = {kind: load_backbone(BACKBONE, tokens=kind) for kind in ("joint", "value")}
    tasks = [load_task(name) for name in TASKS]
    config = CalipConfig(alpha_t=ALPHA, alpha_s=ALPHA)
    sweep = pool_sweep(tasks, models, config=config, limit=IMAGES, seed=0, progress=False)
    model = synthetic.TokenModel(distractors=0.0)
    diagram = synthetic.phase_diagram(model, spreads=synthetic.SPREADS, seed=0)
    return {
        "pool": {"amounts": list(AMOUNTS), "tasks": list(TASKS), "rows": pool_rows(sweep)},
        "map": map_of(diagram, model),
    }


def pool_rows(sweep: pd.DataFrame) -> list[dict[str, Any]]:
    """One per amount, kind of tokens and task; clear gains are those that the chapter's table marks."""
    chosen = sweep[sweep["protocol"] == "validation"]
    clear = pd.concat([clear_gains(part) for _, part in chosen.groupby("amount")])
    return _rows(chosen.assign(clear=clear), ("task", "tokens", "amount", "gain_low", "gain_high"))


def map_of(diagram: pd.DataFrame, model: synthetic.TokenModel) -> dict[str, Any]:
    """The map's points, each with the factors of the lead and what it lacks; and the stops of its three axes."""
    spreads, shares, alphas = (sorted(diagram[name].unique().tolist()) for name in ("spread", "share", "alpha"))
    rows = _rows(diagram.assign(clear=clear_gains(diagram)), ("spread", "share", "alpha", "beta2", "beta3"))
    for row in rows:
        by_alpha = {alpha: factors(model, row["spread"], row["share"], alpha) for alpha in alphas}
        best = max(alphas, key=lambda alpha: by_alpha[alpha][2])
        row["factors"] = by_alpha[row["alpha"]]
        row["most"] = [spreads[-1] * model.strength, shares[-1] * model.strength, by_alpha[best][2]]
        row["lacking"] = lacking(row, best)
    grid = wide_grid()
    largest = {"beta2": float(grid.beta2[-1]), "beta3": float(grid.beta3[-1])}
    return {"spreads": spreads, "shares": shares, "alphas": alphas, "level": LEVEL, "largest": largest, "rows": rows}


def factors(model: synthetic.TokenModel, spread: float, share: float, alpha: float) -> list[float]:
    """The factors of the lead in the model without noise: what a token of the object adds, F_v . t_y, and w_y - w_k.

    Moving tokens towards their mean shortens what an object's token adds, a, by the spread, and leaves the pool alone.
    The background has no preferred side: on average, F_v . t_y is rho a.
    """
    own = spread * model.strength
    right, other = (float(synthetic.weight_on_object(share, gap, alpha)) for gap in (own, model.common * own))
    return [own, share * model.strength, right - other]


def lacking(row: Mapping[str, Any], best: float) -> list[str]:
    """Why CALIP cannot gain at a point: CLIP makes no errors, there is no object, or the factors that are small.

    Args:
        row: the point, with CLIP's accuracy, the factors, and the largest value of each: over all spreads, over all
            shares, and over all temperatures at the point's share and spread.
        best: the temperature at which the third factor is largest.
    """
    first = ["errors"] if row["clip"] >= _PERFECT else ["object"] if row["share"] == 0 else []
    names = ("differ", "pool", "low" if row["alpha"] < best else "high")
    sizes = zip(names, row["factors"], row["most"], strict=True)
    return [*first, *(name for name, factor, most in sizes if factor < _SMALL * most)]


def _rows(table: pd.DataFrame, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Some columns, and CALIP against CLIP as numbers and as the book's tables show it."""
    return [
        {str(key): row[key] for key in (*keys, "clip", "calip", "gain", "clear")} | {"shown": _shown(row)}
        for row in table.to_dict("records")
    ]


def _shown(row: Mapping[Any, Any]) -> dict[str, str]:
    ends = interval(row["gain_low"], row["gain_high"])
    return {
        "clip": percent(row["clip"]),
        "calip": percent(row["calip"]),
        "points": points(row["gain"]),
        "gain": f"{points(row['gain'])} {ends}{' *' if row['clear'] else ''}",
        "alone": f"{row['only_calip']} : {row['only_clip']}",
    }
