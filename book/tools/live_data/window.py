"""What chapter 4's first panel shows: CLIP and CALIP on the miniature's tasks while the pool is spoiled."""

from typing import Any

import pandas as pd

from calip_core import CalipConfig, load_backbone, load_task
from calip_core.analysis import window
from calip_core.exhibits.window import clear_gains

BACKBONE, IMAGES, ALPHA = "mini-rn", 2000, 0.5
"""Those of chapter 4."""
TASKS = ("mini-pairs", "mini-shapes", "mini-textures", "digits")


def data() -> dict[str, Any]:
    """The chapter's sweep, with weights from validation images."""
    models = {kind: load_backbone(BACKBONE, tokens=kind) for kind in ("joint", "value")}
    tasks = [load_task(name) for name in TASKS]
    config = CalipConfig(alpha_t=ALPHA, alpha_s=ALPHA)
    sweep = window.pool_sweep(tasks, models, config=config, limit=IMAGES, seed=0, progress=False)
    return {"amounts": list(window.AMOUNTS), "tasks": list(TASKS), "rows": rows(sweep)}


def rows(sweep: pd.DataFrame) -> list[dict[str, Any]]:
    """One per amount, kind of tokens and task; clear gains are those that the chapter's table marks."""
    chosen = sweep[sweep["protocol"] == "validation"]
    clear = pd.concat([clear_gains(part) for _, part in chosen.groupby("amount")])
    columns = ["task", "tokens", "amount", "images", "clip", "calip", "gain", "gain_low", "gain_high", "only_calip",
               "only_clip", "beta2", "beta3"]  # fmt: skip
    found: list[dict[str, Any]] = chosen[columns].assign(clear=clear).to_dict("records")
    return found
