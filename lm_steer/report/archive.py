"""Pack a run into one file, for Zenodo or a dataset on the hub, and unpack it again.

publish("results", "my-run.zip")        # generations, scores, steers with their cards, tables, the study and its record
fetch("my-run.zip", "published")        # checked, then: lm-steer report page --results published

Models and training texts are left out: others own them, and the study names them by version.
"""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lm_steer import __version__
from lm_steer.core.steer import Steer
from lm_steer.report.card import card
from lm_steer.study.config import Study, read_study
from lm_steer.tables.cells import edited, read_tables
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import decoded, fitting, parse_json, reading, replacing, require_space, sha256_of
from lm_steer.util.outputs import ARCHIVE

RECORD = ARCHIVE[0]
FOLDERS = ("adapters", "agreement", "analyses", "generations", "prompts", "scores", "steers", "tables")
# Names that cannot lead out of the folder, in formats that hold data and no code.
PUBLISHED = re.compile(
    rf"(?:study|run|(?:{'|'.join(FOLDERS)})(?:/\w[\w.+-]*)+)\.(?:csv|json|jsonl|md|parquet|safetensors)"
)
# A fixed date, so that archives of the same files have the same bytes.
DAY = (1980, 1, 1, 0, 0, 0)
LARGEST_RECORD = 2**24


def publish(results: str | Path, output: str | Path) -> int:
    """Pack a run into a .zip, and return the number of files.

    Raises LMSteerError if `results` is not a run, has nothing to publish yet, or links to a file elsewhere.
    """
    root = Path(results)
    cards = dict(_cards(root, read_study(root / "study.json")))
    paths = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    paths = {name: path for name, path in paths.items() if PUBLISHED.fullmatch(name) and name not in cards}
    for path in paths.values():
        if not path.resolve().is_relative_to(root.resolve()):
            raise LMSteerError(f"{path} links to a file outside {root}, which may be private: remove the link")
    if not any(name.startswith("generations/") for name in paths):
        raise LMSteerError(f"{root} has no generations: run the study first")
    with replacing(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        files = {}
        for name in (*paths, *cards):
            content = paths[name].read_bytes() if name in paths else cards[name].encode()
            files[name] = hashlib.sha256(content).hexdigest()
            archive.writestr(zipfile.ZipInfo(name, DAY), content, zipfile.ZIP_DEFLATED)
        record = json.dumps({"lm_steer": __version__, "files": files}, indent=1)
        archive.writestr(zipfile.ZipInfo(RECORD, DAY), record, zipfile.ZIP_DEFLATED)
    return len(files)


def fetch(archive: str | Path, output: str | Path) -> int:
    """Unpack a run packed by `publish` into a new folder, and return the number of files.

    Raises LMSteerError, leaving no folder behind, if the archive holds a file that its record does not list, a name
    that leads out of the folder, a format that is not data, or a file with another sha256.
    """
    with reading(archive, "an archive of a run"), zipfile.ZipFile(archive) as packed:
        files = _record(archive, packed)
        require_space(Path(output).absolute().parent, sum(part.file_size for part in packed.infolist()), str(archive))
        with replacing(output, ARCHIVE) as temporary:
            for name in (RECORD, *files):
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(name) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
                if name != RECORD and sha256_of(path) != files[name]:
                    raise LMSteerError(f"{archive}: {name} differs from the published file: download the archive again")
    return len(files)


def _record(archive: str | Path, packed: zipfile.ZipFile) -> dict[str, str]:
    """Return the sha256 of each file by name, after checking that all of them may be unpacked."""
    names = packed.namelist()
    if RECORD not in names or packed.getinfo(RECORD).file_size > LARGEST_RECORD:
        raise LMSteerError(f"{archive} is not an archive of `lm-steer report publish`: it has no {RECORD}")
    place = f"{archive}, {RECORD}"
    record = parse_json(decoded(packed.read(RECORD), place), place)
    files: dict[str, str] = fitting(record, {"files": {str: str}}, place)["files"]
    for name in (*files, *names):
        if name != RECORD and not PUBLISHED.fullmatch(name):
            raise LMSteerError(f"{archive} holds {name!r:.200}, which is not a file of a run: do not trust it")
    if sorted(names) != sorted([RECORD, *files]):
        raise LMSteerError(f"{archive} does not hold the files that its {RECORD} lists: download it again")
    return files


def _cards(root: Path, study: Study) -> Iterator[tuple[str, str]]:
    """Yield the path and text of each steer's card, with the table cells of settings that use it."""
    for table in edited(root):
        raise LMSteerError(f"{root}/tables/{table}.csv differs from the one recorded in run.json: write it again")
    cells = [cell for table in read_tables(study, root).values() for cell in table]
    for config in sorted(root.glob("steers/*/*/seed*/steer_config.json")):
        folder, name = config.parent, config.parent.parent.name
        settings = {setting for setting, block in study.settings.items() if name in block.steer}
        text = card(Steer.from_pretrained(folder), name, [cell for cell in cells if cell["setting"] in settings])
        yield (folder / "README.md").relative_to(root).as_posix(), text
