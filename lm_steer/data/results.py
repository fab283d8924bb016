"""Tables that were edited since the run that recorded them."""

from pathlib import Path

from lm_steer.util.files import fitting, read_json, sha256_of


def edited(results: Path) -> list[str]:
    """Return the names of tables that differ from the run's record: edited by hand, or made since."""
    record = results / "run.json"
    known = read_json(record, dict).get("tables", {}) if record.exists() else {}
    fitting(known, {str: str}, record, "tables")
    checksums = {Path(path).name: checksum for path, checksum in known.items()}
    paths = [path for path in sorted((results / "tables").glob("*.csv")) if path.name in checksums]
    return [path.stem for path in paths if sha256_of(path) != checksums[path.name]]
