"""Where results lie, and which tables were edited since the run."""

from pathlib import Path

from lm_steer.util.files import fitting, read_json, sha256_of


def edited(results: Path) -> list[str]:
    """Return the tables that are not those on the record of the run: edited by hand, or made since."""
    record = results / "run.json"
    known = read_json(record, dict).get("tables", {}) if record.exists() else {}
    fitting(known, {str: str}, record, "tables")
    checksums = {Path(path).name: checksum for path, checksum in known.items()}
    paths = [path for path in sorted((results / "tables").glob("*.csv")) if path.name in checksums]
    return [path.stem for path in paths if sha256_of(path) != checksums[path.name]]
