"""The same groups on a Ray cluster, which must see the data and the results under the same paths."""

from collections.abc import Iterator
from typing import Any

from calip_core.evaluation.sweep import Engine, Group, Outcome

_RETRIES = 2
_SECONDS_TO_STOP = 20


def ray_engine(address: str | None = None) -> Engine:
    """An engine that runs groups on a Ray cluster, each with one GPU where the cluster has GPUs.

    When a worker or its machine dies, Ray starts the group again elsewhere; what it has recorded is not measured again.

    Args:
        address: of the cluster, such as "auto" or "ray://host:10001"; a cluster on this machine by default. That one
            listens on the loopback address alone and has no dashboard.

    Raises:
        ImportError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("the engine 'ray' needs the package ray: `pip install calip-core[ray]`") from error

    def run(groups: list[Group]) -> Iterator[Outcome]:
        started_here = not ray.is_initialized()
        if started_here:
            _connect(ray, address)
        gpus = 1 if _resources(ray).get("GPU", 0) else 0
        remote = ray.remote(num_gpus=gpus, max_retries=_RETRIES)(_run)
        running = {remote.remote(group): group for group in groups}
        try:
            while running:
                (done, *_), _ = ray.wait(list(running))
                yield from _outcomes(ray, done, running.pop(done))
        finally:
            for reference in running:
                ray.cancel(reference)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=_SECONDS_TO_STOP)
            if started_here:
                ray.shutdown()

    return run


def _connect(ray: Any, address: str | None) -> None:
    if address is not None:
        ray.init(address=address, log_to_driver=False)
        return
    ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)


def _resources(ray: Any) -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()
    return resources


def _run(group: Group) -> list[Outcome]:
    from calip_core.evaluation.worker import run_group

    return list(run_group(group))


def _outcomes(ray: Any, reference: Any, group: Group) -> list[Outcome]:
    try:
        outcomes: list[Outcome] = ray.get(reference)
    except ray.exceptions.RayError as error:  # a worker has died more often than it is retried
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        return [Outcome(cell, "failed", reason) for cell in group.cells]
    return outcomes
