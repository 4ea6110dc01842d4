"""What processes use, as /proc tells."""

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Give the seconds of CPU that a process has used, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Give the proportional set size of a process in MB (2**20 bytes)."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") / 1024


def peak_mb(pid: int) -> float:
    """Give the most memory that a process has held at a time, in MB (2**20 bytes)."""
    return _kilobytes(f"/proc/{pid}/status", "VmHWM:") / 1024


def family(pid: int) -> list[int]:
    """Give a process and all that descend from it; its envoy is a child of what ends it."""
    found = [pid]
    for each in found:
        for thread in Path(f"/proc/{each}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _kilobytes(file: str, name: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError(f"{file} has no {name}")
