"""The miniature study on a cluster: started, finished, waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from running import places
from services.slurm import TIED

STUDY = ["--config", "shards=2"]
# Snakemake as it is, but that it looks at its jobs every second: by itself it waits ten seconds longer after each look
# that finds none of them finished, and a test would do little else.
CONTROLLER = """
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda executor: 1, lambda executor, seconds: None)
main()
"""


class Study:
    """The study in a folder of its own, run through the profile of SLURM."""

    def __init__(self, folder: Path, commands: Path | None = None) -> None:
        self.folder = folder
        self.places = places(folder, commands)
        self.log = folder / "controller.log"
        self.controllers: list[subprocess.Popen] = []

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start the controller; what it prints goes to `log`."""
        profile = ["--workflow-profile", "workflow/profiles/slurm"]
        with open(self.log, "a", encoding="utf-8") as log:
            controller = subprocess.Popen(
                [*TIED, sys.executable, "-c", CONTROLLER, "tables", *profile, *(arguments or STUDY)],
                cwd=self.folder,
                env=os.environ | self.places,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.controllers.append(controller)
        return controller

    def finish(self, *arguments: str) -> None:
        """Run the command to its end."""
        self.ends_well(self.start(*arguments))

    def ends_well(self, controller: subprocess.Popen) -> None:
        """Wait until a controller ends, and assert that it succeeded."""
        try:
            code = controller.wait(timeout=600)
        except subprocess.TimeoutExpired:
            controller.send_signal(signal.SIGINT)
            controller.wait(timeout=60)
            raise
        assert code == 0, self.log.read_text(encoding="utf-8")[-6000:]

    def end(self) -> None:
        """Kill what a test that failed has left."""
        for controller in self.controllers:
            controller.kill()
            controller.wait()

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "results/tables").glob("*.csv")}


def until(condition: Callable[[], object], seconds: float = 600) -> object:
    """Wait for something to come true, and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return value
