"""Read files of rated comments (.csv, a .zip of one, .parquet) in blocks, so that only one block is in memory.

    for block in comments([Path("all_data.csv")]):
        block[["id", "text", "toxicity"]]

Three layouts are recognized by their columns: comment_text and toxicity (all_data.csv), comment_text and target
(train.csv), text and toxicity (google/civil_comments).
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import reading
from lm_steer.util.progress import Progress

# The size of a block: comments of a parquet file, bytes of a csv.
BLOCK = 20_000
BLOCK_BYTES = 1 << 24
LAYOUTS = (("comment_text", "toxicity"), ("comment_text", "target"), ("text", "toxicity"))
CSV_NAMES = ("all_data.csv", "train.csv")


def comments(files: list[Path]) -> Iterator[pd.DataFrame]:
    """Yield blocks of id, text and toxicity; LMSteerError names the file and the wrong row."""
    for file in files:
        blocks = _parquet_blocks(file) if file.suffix == ".parquet" else _csv_blocks(file)
        row = 0
        for block in blocks:
            yield _checked(block, file, row)
            row += len(block)


def _checked(block: pd.DataFrame, file: Path, row: int) -> pd.DataFrame:
    """Return a block, which begins after `row` rows, with numeric toxicity and ids."""
    toxicity = pd.to_numeric(block["toxicity"], errors="coerce")
    wrong = ~toxicity.between(0, 1)
    if wrong.any():
        at = int(wrong.to_numpy().argmax())
        problem = f"expected a toxicity in [0, 1], found {block['toxicity'].iloc[at]!r}"
        raise LMSteerError(f"{file}, row {row + at + 1}: {problem}")
    if "id" not in block:
        block = block.assign(id=[f"{file.stem}-{number}" for number in range(row + 1, row + len(block) + 1)])
    return block.assign(text=block["text"].fillna(""), toxicity=toxicity)


def _layout(columns: list[str], file: Path) -> dict[str, str]:
    """Return the columns to read, each with its new name."""
    for text, toxicity in LAYOUTS:
        if columns.count(text) == columns.count(toxicity) == 1:
            return {text: "text", toxicity: "toxicity"} | ({"id": "id"} if "id" in columns else {})
    known = "; ".join(" and ".join(layout) for layout in LAYOUTS)
    raise LMSteerError(f"{file}: expected the columns {known}, found {', '.join(columns)}")


def _csv_blocks(file: Path) -> Iterator[pd.DataFrame]:
    reading_options = csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
    parsing = csv.ParseOptions(newlines_in_values=True)
    with reading(file, "a whole csv in UTF-8, alone or in a zip"):
        try:
            with _opened(file) as (stream, _):
                names = _layout(csv.open_csv(stream, reading_options, parsing).schema.names, file)
            as_texts = csv.ConvertOptions(include_columns=list(names), column_types=dict.fromkeys(names, pa.string()))
            with _opened(file) as (stream, size), Progress(f"read {file.name}", size // 1000, "kB") as progress:
                for batch in csv.open_csv(stream, reading_options, parsing, as_texts):
                    yield batch.to_pandas().rename(columns=names)
                    progress.advance(stream.tell() // 1000 - progress.done)
        except pa.ArrowInvalid as error:
            # A zip of a megabyte may contain a comment of a gigabyte.
            if "straddling" in str(error):
                raise LMSteerError(f"{file}: one comment takes more than {BLOCK_BYTES >> 20} MB: remove it") from None
            raise


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a csv, or the one inside a zip; yield it with its size in bytes."""
    if file.suffix != ".zip":
        with open(file, "rb") as stream:
            yield stream, file.stat().st_size
        return
    with zipfile.ZipFile(file) as archive:
        member = _member(archive, file)
        with archive.open(member) as stream:
            yield stream, member.file_size


def _member(archive: zipfile.ZipFile, file: Path) -> zipfile.ZipInfo:
    tables = [member for member in archive.infolist() if member.filename.endswith(".csv")]
    known = [member for name in CSV_NAMES for member in tables if Path(member.filename).name == name]
    if not known and len(tables) != 1:
        members = ", ".join(archive.namelist()) or "nothing"
        raise LMSteerError(f"{file}: expected {' or '.join(CSV_NAMES)}, found {members}")
    return (known or tables)[0]


def _parquet_blocks(file: Path) -> Iterator[pd.DataFrame]:
    with reading(file, "a whole parquet file"), pq.ParquetFile(file) as table:
        names = _layout(table.schema_arrow.names, file)
        with Progress(f"read {file.name}", table.metadata.num_rows, "comment") as progress:
            for batch in table.iter_batches(BLOCK, columns=list(names)):
                yield batch.to_pandas().rename(columns=names)
                progress.advance(len(batch))
