"""Images do not depend on the number of processor threads, as workers of clusters and machines differ in it."""

import subprocess
import sys

import pytest

SCRIPT = """
import hashlib
import torch
from augment.config import GanConfig
from augment.gan.networks import build_generator
torch.manual_seed(0)
generator = build_generator(GanConfig(width=0.25)).eval().to(memory_format=torch.channels_last)
joints = torch.rand(2, 32, 18, 2) * torch.tensor([63.0, 127.0])
for precision in ("fp32", "bf16"):
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            image = generator(torch.rand(32, 3, 128, 64, generator=torch.Generator().manual_seed(1)), *joints)
        print(precision, threads, hashlib.sha256(image.float().numpy().tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def hashes() -> dict[str, set[str]]:
    printed = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line.split() for line in printed.splitlines()]
    return {precision: {hash for p, _, hash in lines if p == precision} for precision in ("fp32", "bf16")}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_images_are_the_same_on_any_number_of_threads(hashes, precision):
    assert len(hashes[precision]) == 1
