"""Share of a training run's time spent in matrix products: faster products cannot reduce the rest."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch.profiler import ProfilerActivity, profile

_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::addmv")
_ATTENTION = "aten::_scaled_dot_product"  # fused, its products and its softmax in one


class ProductShare:
    """Share of CPU time spent in matrix products.

    Attributes:
        value: from 0 to 1; None if nothing has been measured.
    """

    value: float | None = None


@contextmanager
def product_share(wanted: bool) -> Iterator[ProductShare]:
    """Measure the block; does nothing if ``wanted`` is false, as measuring slows short operations down.

    Only CPU time counts: on a GPU the share tells how long products take to launch, not to finish.
    """
    share = ProductShare()
    if not wanted:
        yield share
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler writes lines of its own to the terminal otherwise
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as measured:
        yield share
    events = measured.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(
        event.self_cpu_time_total for event in events if event.key in _PRODUCTS or event.key.startswith(_ATTENTION)
    )
    share.value = products / total if total else 0.0
