"""Tests of a real GPU, which `make gpu` runs by themselves; LM_STEER_GPU_TESTS_ON=cpu rehearses them on a processor."""

import os
from pathlib import Path

import pytest
import torch

DEVICE = torch.device(os.environ.get("LM_STEER_GPU_TESTS_ON", "cuda"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("gpu")
            if DEVICE.type == "cuda" and not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="there is no GPU"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return DEVICE
