"""The README's lines in a user's own script: torchreid's manager and engine train on a run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import augment.reid
from augment.base.errors import AugmentError, UsageError
from augment.retrieval.torchreid_quiet import quiet, torchreid

README = Path(augment.__file__).parents[1] / "README.md"

# After the README's lines: the rest of an ordinary torchreid script.
TRAIN = """
train = manager.train_loader.dataset
print("people", manager.num_train_pids, "images", len(train), "synthetic", sum(item[3] for item in train.data))
model = torchreid.models.build_model("osnet_x0_25", manager.num_train_pids, pretrained=False)
optimizer = torchreid.optim.build_optimizer(model, optim="adam")
scheduler = torchreid.optim.build_lr_scheduler(optimizer)
engine = torchreid.engine.ImageSoftmaxEngine(manager, model, optimizer, scheduler=scheduler)
engine.run(save_dir="log", max_epoch=1, print_freq=1, ranks=[1])
"""


def readme_lines() -> str:
    """The block of the README that registers a run."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    return next(block for block in blocks if "augment.reid.register(" in block)


def test_the_readmes_lines_train_in_torchreids_own_engine(people, tmp_path):
    people.manifests()
    lines = readme_lines().replace("outputs/demo", str(people.folder))
    assert lines.count("\n") <= 5 and str(people.folder) in lines
    lines = lines.replace('sources="demo"', 'sources="demo", height=64, width=32, batch_size_train=8, workers=0')
    (tmp_path / "mine.py").write_text(lines + TRAIN)
    environment = os.environ | {"PYTHONPATH": str(README.parent), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # 6 people with 4 real images each and 2 synthetic: as a second source they would be 12 people
    assert "people 6 images 36 synthetic 12" in done.stdout
    assert done.stdout.count("epoch: [1/1]") == 36 // 8 and "Rank-1  :" in done.stdout


def test_the_same_run_again_is_no_matter_another_one_under_its_name_is(people, tmp_path):
    people.manifests()
    augment.reid.register(people.folder, "of-these-people")
    augment.reid.register(str(people.folder), "of-these-people")
    with quiet():
        manager = torchreid.data.ImageDataManager(sources="of-these-people", height=64, width=32, workers=0)
    assert manager.num_train_pids == 6
    with pytest.raises(UsageError, match="market1501: torchreid has another data set of this name"):
        augment.reid.register(people.folder, "market1501")
    with pytest.raises(AugmentError, match=r"images\.parquet: no such manifest"):
        augment.reid.register(tmp_path / "nothing", "nothing")
