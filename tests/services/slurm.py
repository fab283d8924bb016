"""A real SLURM of one node, with fake GPUs that it hands out one by one; as root, without systemd and cgroups.

PYTHONPATH=tests python -m services.slurm FOLDER          # runs until interrupted, or killed

Debian: apt-get install --no-install-recommends slurm-wlm munge. All state is in FOLDER, but for links in /etc/slurm:
the jobs' inner srun is called without SLURM_CONF, and finds its settings there.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

ETC = Path("/etc/slurm")
# What begins so is killed when this process ends, however it ends.
TIED = ("setpriv", "--pdeathsig", "KILL")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "sbatch", "setpriv")
CONF = """
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
# Memory is looked at every few seconds, for want of cgroups.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
# A job that waits for a GPU does not keep CPU jobs from the one node.
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,bf_min_age_reserve=86400
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=300
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
AccountingStorageType=accounting_storage/none
NodeName={node} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={node} Default=YES MaxTime=1-00:00:00 DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes={node} Default=NO MaxTime=1-00:00:00 DefMemPerCPU=500 State=UP
{more}
"""


def why_not() -> str:
    """Say why this machine cannot run one, or nothing where it can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)"
    if os.getuid() != 0:
        return "a test SLURM is started by root"
    if (ETC / "slurm.conf").exists() and not (ETC / "slurm.conf").is_symlink():
        return "this machine has a SLURM of its own"
    return ""


class Slurm:
    """A cluster that lives as long as a `with`; `more` are further lines of slurm.conf."""

    def __init__(self, folder: Path, gpus: int = 2, more: str = "") -> None:
        self.folder, self.gpus, self.more = folder, gpus, more
        self.node = socket.gethostname().split(".")[0]
        self.conf = folder / "slurm.conf"
        self.daemons: list[subprocess.Popen] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel_all()
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for path in (self.conf, self.folder / "gres.conf"):
            link = ETC / path.name
            if link.is_symlink() and link.readlink() == path:
                link.unlink()
        os.environ.pop("SLURM_CONF", None)

    def is_up(self) -> bool:
        """Whether the node takes jobs."""
        return self.ask("sinfo", "-h", "-n", self.node, "-o", "%T").split("\n")[0] in ("idle", "mixed", "allocated")

    def ask(self, *command: str) -> str:
        """Return what a command of SLURM's prints."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def jobs(self, state: str = "") -> list[str]:
        """Return the ids of jobs in the queue, pending and running ones or those of one state."""
        chosen = ["-t", state or "PD,R,CG,CF"]
        return self.ask("squeue", "-h", *chosen, "-o", "%i").split()

    def cancel_all(self) -> None:
        """Cancel every job, and wait until it is gone."""
        if _succeeds("scontrol", "ping"):
            self.ask("scancel", "--user=root")
            _wait(60, lambda: not self.jobs())

    def set_node(self, state: str) -> None:
        """Set the node `down` or up again (`resume`)."""
        _run("scontrol", "update", f"NodeName={self.node}", f"State={state}", "Reason=test")

    def history(self) -> list[dict[str, str]]:
        """Return the finished jobs, each as the fields of its line in the job log."""
        path = self.folder / "jobs.log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]

    def _start(self) -> None:
        for name in ("state", "spool", "dev"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._write_settings()
        os.environ["SLURM_CONF"] = str(self.conf)
        socket_option = f"--socket={self.folder}/munge.sock"
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._begin("munged", "--foreground", "--force", socket_option, *files)
        _wait(10, lambda: _succeeds("munge", "-n", "-S", f"{self.folder}/munge.sock", "-o", "/dev/null"))
        self._begin("slurmctld", "-D", "-f", str(self.conf))
        _wait(20, lambda: _succeeds("scontrol", "ping"))
        self._begin("slurmd", "-D", "-f", str(self.conf), "-N", self.node)
        _wait(30, self.is_up)

    def _begin(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as printed:
            self.daemons.append(subprocess.Popen([*TIED, *command], stdout=printed, stderr=printed))

    def _write_settings(self) -> None:
        # slurmd insists on device files: these are twins of /dev/null.
        for number in range(self.gpus):
            path = self.folder / "dev" / f"fakegpu{number}"
            if not path.exists():
                os.mknod(path, 0o020666, os.makedev(1, 3))
        files = f"{self.folder}/dev/fakegpu[0-{self.gpus - 1}]" if self.gpus > 1 else f"{self.folder}/dev/fakegpu0"
        settings = CONF.format(folder=self.folder, node=self.node, gpus=self.gpus, more=self.more)
        self.conf.write_text(settings, encoding="utf-8")
        gres = self.folder / "gres.conf"
        gres.write_text(f"AutoDetect=off\nNodeName={self.node} Name=gpu File={files}\n", encoding="utf-8")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        ETC.mkdir(exist_ok=True)
        for path in (self.conf, gres):
            link = ETC / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def _wait(seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.1)


def main() -> None:
    """Run a cluster until interrupted."""
    if why_not():
        sys.exit(why_not())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with Slurm(Path(sys.argv[1]).absolute()) as slurm:
        print(slurm.ask("sinfo", "-N", "-o", "%P %T %c %m %G"), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
