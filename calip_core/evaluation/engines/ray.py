"""Run groups on a Ray cluster, on which the data and the results must have the same paths."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from typing import Any

from calip_core.evaluation.sweep import Engine, Group, Outcome

_RETRIES = 2
_LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all of Ray's processes listen on the loopback address, as on macOS
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported over the network
}
"""Variables for a cluster on this machine, which Ray reads on import."""
_SECONDS_TO_STOP = 20


def ray_engine(address: str | None = None) -> Engine:
    """An engine that runs groups on a Ray cluster, each with one GPU if the cluster has GPUs.

    When a worker or its machine dies, Ray starts the group again elsewhere; what it has recorded is not measured again.

    Args:
        address: address of the cluster, such as "auto" or "ray://host:10001"; by default, a new cluster on this
            machine. It listens only on the loopback address (unless Ray was imported before), asks for a token, and
            has no dashboard.

    Raises:
        ImportError: Ray is not installed.
    """
    ray = import_ray(address)

    def run(groups: list[Group]) -> Iterator[Outcome]:
        with cluster(ray, address):
            gpus = 1 if _resources(ray).get("GPU", 0) else 0
            remote = ray.remote(num_gpus=gpus, max_retries=_RETRIES)(_run)
            references = [remote.remote(group) for group in groups]
            # Python waits for futures, so that a signal may raise here; in ray.wait only Ctrl-C may.
            futures = {reference.future(): group for reference, group in zip(references, groups, strict=True)}
            try:
                for done in as_completed(futures):
                    yield from _outcomes(ray, done, futures[done])
            finally:
                for reference in references:
                    ray.cancel(reference)  # finished groups are unaffected
                ray.wait(references, num_returns=len(references), timeout=_SECONDS_TO_STOP)

    return run


def import_ray(address: str | None) -> Any:
    """The package ray, told before its import how to guard a cluster of this machine alone.

    Raises:
        ImportError: Ray is not installed.
    """
    if address is None:
        for variable, value in _LOCAL.items():
            os.environ.setdefault(variable, value)
    try:
        import ray
    except ImportError as error:
        raise ImportError("the engine 'ray' needs the package ray: `pip install 'calip-core[ray]'`") from error
    return ray


@contextmanager
def cluster(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to the cluster at an address, or to a new one here; one that is there already stays as it is."""
    started_here = not ray.is_initialized()
    if started_here:
        _connect(ray, address)
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    if address is not None:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(include_dashboard=False, log_to_driver=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process before the sweep can report what is left


def _resources(ray: Any) -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()
    return resources


def _run(group: Group) -> list[Outcome]:
    from calip_core.evaluation.worker import run_group

    return list(run_group(group))


def _outcomes(ray: Any, done: Future[list[Outcome]], group: Group) -> list[Outcome]:
    try:
        return done.result()
    except ray.exceptions.RayError as error:  # a worker has died more often than it is retried
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        return [Outcome(cell, "failed", reason) for cell in group.cells]
