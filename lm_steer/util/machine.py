"""This machine's processor, and what its programs print."""

import platform
import subprocess
from pathlib import Path


def processor() -> str:
    """Return the name of the processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def output_of(*command: str) -> str:
    """Return what a command prints; "" if it is missing, fails or does not answer within a minute."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
