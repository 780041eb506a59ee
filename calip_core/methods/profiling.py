"""What share of a training run's time goes into matrix products: the rest is what a faster product cannot help."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch.profiler import ProfilerActivity, profile

_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::addmv")
_ATTENTION = "aten::_scaled_dot_product"  # fused, its products and its softmax in one


class ProductShare:
    """Time on the processor that was spent in matrix products.

    Attributes:
        value: from 0 to 1; None while nothing has been measured.
    """

    value: float | None = None


@contextmanager
def product_share(wanted: bool) -> Iterator[ProductShare]:
    """Measure everything inside; nothing at all where it is not wanted, as measuring slows short operations down.

    Only the processor's time counts: on a GPU the share says how long products take to start, not to finish.
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
