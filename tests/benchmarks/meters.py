"""What processes cost: CPU and memory, over a process and everything it started."""

import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

MIB = 1024 * 1024


def tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pids: Iterable[int], *, without: int | None = None) -> float:
    """CPU time so far of these process trees, of children that have ended too; `without` one process."""
    return sum(_cpu(process) for pid in pids for process in tree(pid) if process.pid != without)


def memory_mib(pids: Iterable[int]) -> float:
    """Resident memory now."""
    return sum(process.memory_info().rss for pid in pids for process in tree(pid)) / MIB


def peak_memory_mib(pids: Iterable[int]) -> float:
    """The sum of each process's largest resident memory since its start."""
    return sum(_peak_kib(process.pid) for pid in pids for process in tree(pid)) / 1024


def _cpu(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])  # user, system, and both of ended children
    except psutil.NoSuchProcess:
        return 0.0


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
