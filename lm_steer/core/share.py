"""Steers on the Hugging Face hub: pushed with a model card; fetched by `Steer.from_pretrained`.

lm-steer push results/steers/smollm2/detox/seed0 me/detox-smollm2 --table results/tables/detoxification.csv

steer = Steer.from_pretrained("me/detox-smollm2", revision="…")
steer.push_to_hub("me/detox-smollm2")
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lm_steer.core.card import card
from lm_steer.fetch.hub import from_hub
from lm_steer.util.options import check_kind

if TYPE_CHECKING:
    from lm_steer.core.steer import Steer


def push(
    steer: "Steer",
    repo: str,
    tables: Sequence[str | Path] = (),
    rows: Sequence[str] = (),
    intended_use: str = "",
    private: bool = False,
    message: str = "Upload steer",
) -> str:
    """Commit a steer and its card to a model repository, made if need be; return the commit's address.

    tables, rows and intended_use are for the card; see `lm_steer.core.card`. The login is the hub client's own.
    """
    from huggingface_hub import HfApi

    check_kind(str, repo=repo)
    text = card(steer, repo, tables, rows, intended_use)
    with tempfile.TemporaryDirectory() as folder:
        steer.save_pretrained(folder)
        (Path(folder) / "README.md").write_text(text, encoding="utf-8")

        def upload() -> str:
            hub = HfApi()
            hub.create_repo(repo, private=private, exist_ok=True)
            return hub.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).commit_url

        return from_hub(repo, "main", "or pass the folder on", upload, "pushed to")
