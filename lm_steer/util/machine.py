"""File systems that only this machine can see."""

from pathlib import Path

# File systems of one machine; what other machines see as well is nfs, lustre, gpfs, beegfs, ceph and the like.
LOCAL = {"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat"}


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
