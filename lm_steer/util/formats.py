"""Read tables and tensors, with errors that name the file and the place in it that is wrong; write tables.

frame = read_csv("results/tables/moods.csv", texts=("model", "row"), numbers=("n_prompts",), gaps=("value",))
tensors, metadata = read_tensors("my-steer/steer.safetensors")
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json, read_text, reading, replacing

if TYPE_CHECKING:
    import pandas as pd

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
RECORD = "lm_steer_model.json"
# Characters of one field of a CSV file; Python's own limit is shorter than many documents.
LONGEST_FIELD = 1 << 26


def read_csv(
    path: str | Path,
    texts: Sequence[str] = (),
    numbers: Sequence[str] = (),
    gaps: Sequence[str] = (),
    separator: str = ",",
) -> "pd.DataFrame":
    """Read a CSV file with a header; every field is text, including empty ones and `NA`.

    texts       required columns
    numbers     required columns of finite numbers
    gaps        required columns of finite numbers or empty fields, which become NaN

    Raises LMSteerError naming the line that is malformed, the missing column, or the row of a bad number.
    """
    import pandas as pd

    lines = csv_lines(path, separator)
    _, header = next(lines, (0, []))
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise LMSteerError(f"{path}: the column '{repeated[0]}' occurs twice in the header")
    rows = []
    for number, row in lines:
        if len(row) != len(header):
            raise LMSteerError(f"{path}, line {number}: expected {len(header)} fields, found {len(row)}")
        rows.append(row)
    frame = pd.DataFrame(rows, columns=header, dtype=object)
    require_columns(frame, [*texts, *numbers, *gaps], path)
    for name in (*numbers, *gaps):
        fields = frame[name].mask(frame[name].isin(("", "nan"))) if name in gaps else frame[name]
        values = pd.to_numeric(fields, errors="coerce")
        wrong = (values.isna() | values.abs().eq(math.inf)) & fields.notna()
        if wrong.any():
            at = int(wrong.to_numpy().argmax())
            problem = f"expected a finite number, found {frame[name].iloc[at]!r}"
            raise LMSteerError(f"{path}, row {at + 1}, column {name}: {problem}")
        frame[name] = values
    return frame


def write_csv(path: str | Path, frame: "pd.DataFrame", digits: int = 6) -> None:
    """Write a table, numbers with `digits` significant digits, completely or not at all."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format=f"%.{digits}g")


def csv_lines(path: str | Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank, each after the number of its last line."""
    csv.field_size_limit(LONGEST_FIELD)
    lines = csv.reader(StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    try:
        yield from ((lines.line_num, row) for row in lines if row)
    except csv.Error as error:
        raise LMSteerError(f"{path}, line {lines.line_num}: not valid CSV ({error})") from None


def harmless(path: str | Path) -> bytes:
    """Return a CSV file for download: `'` precedes each text that a spreadsheet would take for a formula."""

    def is_formula(field: str) -> bool:
        return field.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and not NUMBER.fullmatch(field)

    rows = [row for _, row in csv_lines(path)]
    if not any(is_formula(field) for row in rows for field in row):
        return Path(path).read_bytes()
    buffer = StringIO(newline="")
    lines = ([f"'{field}" if is_formula(field) else field for field in row] for row in rows)
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue().encode()


def read_parquet(path: str | Path, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """Read a parquet file that has at least these columns."""
    import pandas as pd

    with reading(path, "a parquet file"), open(path, "rb") as file:
        frame = pd.read_parquet(file)
        # Names of several levels, or numbers, are no names of columns here.
        frame.columns = pd.Index([str(name) for name in frame.columns])
    require_columns(frame, columns, path)
    return frame


def require_columns(frame: "pd.DataFrame", columns: Sequence[str], path: str | Path) -> None:
    """Raise LMSteerError unless a table has these columns."""
    for name in columns:
        if name not in frame:
            existing = ", ".join(map(str, frame.columns)) or "none"
            raise LMSteerError(f"{path} has no column '{name}': it has {existing[:200]}")


def require_rows(frame: "pd.DataFrame", path: str | Path) -> None:
    """Raise LMSteerError if a table, or the part of it that is shown, is empty."""
    if frame.empty:
        raise LMSteerError(f"{path} has no rows, or some are missing: make it again")


def read_record(folder: str | Path) -> dict[str, Any]:
    """Return the record of a model's folder: source, id, revision, and the sha256 of each file."""
    return read_json(Path(folder) / RECORD, {"source": str, "id": str, "revision": str, "files": {str: str}})


def hub_name(folder: str | Path) -> str:
    """Return the name of a judge from the hub, `owner/name@revision`; "" for a model from elsewhere."""
    record = read_record(folder)
    name = f"{record['id']}@{record['revision']}" if record["revision"] else record["id"]
    return name if record["source"] == "hub" else ""


def read_benchmark(path: str | Path) -> dict[str, float]:
    """Return the last measurement in a Snakemake benchmark file; NaN for what it could not measure."""
    import pandas as pd

    try:
        frame = read_csv(path, texts=("s", "max_rss", "cpu_time"), separator="\t")
        require_rows(frame, path)
    except LMSteerError as error:
        raise LMSteerError(f"expected a Snakemake benchmark file: {error}") from None
    return pd.to_numeric(frame.iloc[-1], errors="coerce").replace([math.inf, -math.inf], math.nan).to_dict()


def read_tensors(path: str | Path, framework: str = "pt") -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors of a safetensors file (`np`: as arrays) and its metadata; all values must be finite."""
    from safetensors import safe_open

    with reading(path, "a whole safetensors file"), open(path, "rb"), safe_open(path, framework) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
        for name, tensor in tensors.items():
            if not (abs(1 * tensor) < math.inf).all():
                raise LMSteerError(f"{path}: the tensor '{name}' has values that are not finite: make it again")
    return tensors, metadata
