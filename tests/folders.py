from pathlib import Path


def state(folder: Path) -> dict[str, object]:
    found = {}
    for path in sorted(folder.rglob("*")):
        is_plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.read_bytes() if is_plain else path.lstat().st_mode
    return found


def make_folder(name: str, *files: str, content: str = "{}") -> Path:
    for file in files:
        Path(name, file).parent.mkdir(parents=True, exist_ok=True)
        Path(name, file).write_text(content)
    return Path(name)
