import subprocess
import sys

import tiny
import torch

import lm_steer


def test_importing_the_package_does_not_import_torch():
    code = "import sys, lm_steer; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_every_public_name_is_there():
    assert all(isinstance(getattr(lm_steer, name), type) for name in lm_steer.__all__)


def test_the_first_lines_of_the_package_work(tmp_path, ids):
    model = tiny.make_model("gpt2")
    tiny.make_steer(model).save_pretrained(tmp_path)
    before = tiny.logits_of(model, ids)
    handle = lm_steer.Steer.from_pretrained(tmp_path).attach(model)
    with handle.at(style=5, corpus=1):
        assert not torch.allclose(tiny.logits_of(model, ids), before)
    assert torch.equal(tiny.logits_of(model, ids), before)
