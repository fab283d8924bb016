"""Open an SQLite file that several jobs share, on one machine or on several.

database = open_database("results/.cache/hidden.sqlite")
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_steer.util.outputs import writable

# Seconds that a job waits for another job's write.
PATIENCE = 60
# File systems that other machines do not mount, unlike nfs, lustre, gpfs, beegfs and ceph.
LOCAL = {"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat"}


def open_database(path: str | Path) -> sqlite3.Connection:
    """Open or create the file; each statement is its own transaction. Raises sqlite3.DatabaseError if it is damaged.

    A write-ahead log lets readers and a writer work at the same time, but it needs shared memory: on a file system
    that several machines mount, the plain journal replaces it.
    """
    writable(path).parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    # With a write-ahead log, NORMAL survives a killed process and saves a disk write per statement.
    journal, synchronous = ("WAL", "NORMAL") if is_local(Path(path).parent) else ("DELETE", "FULL")
    try:
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute(f"PRAGMA synchronous={synchronous}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is not an SQLite file or is corrupt; any statement may be first to notice."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Make the block one transaction: a commit costs as much as hundreds of rows."""
    database.execute("BEGIN IMMEDIATE")
    # Commits or rolls back; a corrupt file has already ended the transaction.
    with database:
        yield


def remove_database(path: Path) -> None:
    """Remove the file and its journals."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def is_local(folder: str | Path) -> bool:
    """Whether a folder is on a file system that this machine alone mounts, judged by its type."""
    here, mounts = Path(folder).resolve(), Path("/proc/self/mountinfo")
    if not mounts.exists():
        return True
    types = {}
    for line in mounts.read_text(encoding="utf-8").splitlines():
        before, after = line.split(" - ", 1)
        types[Path(before.split()[4].encode().decode("unicode_escape"))] = after.split()[0]
    mount = next(path for path in [here, *here.parents] if path in types)
    return types[mount] in LOCAL
