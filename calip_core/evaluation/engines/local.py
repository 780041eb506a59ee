"""A pool of processes on this machine, one per GPU, or a single one if there is no GPU."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from calip_core.evaluation.sweep import Cell, Engine, Group, Outcome

_SECONDS_TO_STOP = 10
_spawn = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU


def local_engine(workers: int | None = None) -> Engine:
    """An engine that runs groups in worker processes of this machine.

    If a worker dies, the cell that it was measuring fails; a new one continues with the rest of its group.

    Args:
        workers: number of processes; by default one per GPU, or one if there is no GPU.

    Raises:
        ValueError: ``workers`` is below 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")

    def run(groups: list[Group]) -> Iterator[Outcome]:
        gpus = _gpu_count()
        count = min(workers or max(1, gpus), len(groups))
        pool = [_Worker(slot, f"cuda:{slot % gpus}" if gpus else "cpu") for slot in range(count)]
        queue = deque(groups)
        try:
            yield from _dispatch(pool, queue)
        finally:
            for worker in pool:
                worker.stop()

    return run


def _gpu_count() -> int:
    """Number of NVIDIA GPUs that this process may use. Importing torch to find out would take seconds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


@dataclass
class _Worker:
    """One process, and the group that it is working on."""

    slot: int
    device: str
    group: Group | None = None
    finished: list[Cell] = field(default_factory=list)
    current: Cell | None = None

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.connection, theirs = _spawn.Pipe()
        self.process: BaseProcess = _spawn.Process(
            target=_work, args=(theirs, self.slot, self.device), daemon=True, name=f"calip-worker-{self.slot}"
        )
        self.process.start()
        theirs.close()

    def give(self, group: Group) -> None:
        self.group, self.finished, self.current = group, [], None
        self.connection.send(group)

    def lost(self) -> tuple[Outcome, Group]:
        """Handle the death of the process: start a new one; return the failed cell and the rest of the group."""
        assert self.group is not None
        self.process.join()
        left = self.group.without(self.finished)
        cell = self.current or left.cells[0]
        status = self.process.exitcode or 0
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        outcome = Outcome(cell, "failed", f"its process died ({how}); out of memory is the usual reason")
        self.connection.close()
        self.group = None
        self._start()
        return outcome, left.without([cell])

    def stop(self) -> None:
        """End the process: an idle one ends by itself once its connection is closed, and then cleans up."""
        self.connection.close()
        if self.group is not None:
            self.process.terminate()
        self.process.join(_SECONDS_TO_STOP)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _dispatch(pool: list[_Worker], queue: deque[Group]) -> Iterator[Outcome]:
    while queue or any(worker.group for worker in pool):
        for worker in pool:
            if worker.group is None and queue:
                worker.give(queue.popleft())
        busy: dict[Connection, _Worker] = {worker.connection: worker for worker in pool if worker.group}
        for connection in wait(list(busy)):
            worker = busy[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                outcome, left = worker.lost()
                if left.cells:
                    queue.appendleft(left)
                yield outcome
                continue
            if message is None:
                worker.group = None
            elif isinstance(message, Cell):
                worker.current = message
            else:
                worker.finished.append(message.cell)
                yield message


def _work(connection: Connection, slot: int, device: str) -> None:
    """A worker's loop: receive a group, report its cells, and send None at its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TQDM_POSITION"] = str(1 + slot)  # below the sweep's own bar
    from calip_core.evaluation.worker import run_group  # takes seconds: it imports torch

    while True:
        try:
            group = connection.recv()
        except EOFError:
            return
        for outcome in run_group(group, device, started=connection.send):
            connection.send(outcome)
        connection.send(None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        print("calip: the sweep's process is gone, its worker ends too", file=sys.stderr)
        os._exit(1)
