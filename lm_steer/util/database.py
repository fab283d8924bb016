"""Opening an sqlite file that several jobs share, on one machine or on several.

database = open_database("results/.cache/hidden.sqlite")
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_steer.util.outputs import writable

# Seconds that a job waits for another one's write.
PATIENCE = 60
# File systems of one machine; what other machines see as well is nfs, lustre, gpfs, beegfs, ceph and the like.
LOCAL = {"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat"}


def open_database(path: str | Path) -> sqlite3.Connection:
    """Open or make the file; each statement is a transaction of its own. sqlite3.DatabaseError where it is damaged.

    A write-ahead log lets readers and a writer pass each other, but it is shared memory: on a file system that
    several machines see, the plain journal takes its place.
    """
    writable(path).parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    # With a write-ahead log NORMAL survives a killed process whole, and spares a write to the disk for each statement.
    mode, care = ("WAL", "NORMAL") if is_local(Path(path).parent) else ("DELETE", "FULL")
    try:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute(f"PRAGMA synchronous={care}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is no sqlite file, or not whole: it is found wherever it is read first."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Make what is written inside one transaction: a commit costs as much as hundreds of rows."""
    database.execute("BEGIN IMMEDIATE")
    # Commits, or rolls back unless the transaction has ended by itself, as one that meets damage does.
    with database:
        yield


def remove_database(path: Path) -> None:
    """Remove the file and its journals."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def is_local(folder: str | Path) -> bool:
    """Whether a folder lies on a file system of this machine alone, by its kind."""
    here, mounts = Path(folder).resolve(), Path("/proc/self/mountinfo")
    if not mounts.exists():
        return True
    kinds = {}
    for line in mounts.read_text(encoding="utf-8").splitlines():
        before, after = line.split(" - ", 1)
        kinds[Path(before.split()[4].encode().decode("unicode_escape"))] = after.split()[0]
    holder = next(path for path in [here, *here.parents] if path in kinds)
    return kinds[holder] in LOCAL
