"""Re-ID training beside torchreid's own loader and engine: the same images, network, batch and transforms.

    python benchmarks/reid_training.py                       # OSNet x0.25 at 128x64
    python benchmarks/reid_training.py --model resnet50 --height 256 --width 128 --batch 16 --iterations 6

Both in turn on rendered people, processor time of the whole process; the ratio is of medians over rounds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from augment.config import ArmConfig, DataConfig, ReidConfig, RenderedConfig
from augment.data.stage import scan_images
from augment.reid.arms import settings_of_arms
from augment.reid.batches import Batches
from augment.reid.dataset import ManifestDataset, ReidData, read_data
from augment.reid.images import TrainImages
from augment.reid.losses import training_loss
from augment.retrieval.networks import build_model
from augment.retrieval.torchreid_quiet import quiet, torchreid

ROUNDS = 5
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="osnet_x0_25")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    section = ReidConfig(
        model=options.model, height=options.height, width=options.width, batch_size=options.batch,
        iterations=options.iterations, arms={"real": ArmConfig()},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        rendered = RenderedConfig(train_identities=20, test_identities=2)
        data = read_data(scan_images(DataConfig(layout="rendered", rendered=rendered), Path(folder) / "images"))
        seconds = {"torchreid": [], "ours": []}
        for _ in range(ROUNDS):
            seconds["torchreid"].append(torchreids(data, section))
            seconds["ours"].append(ours(data, section))
    for name, of_rounds in seconds.items():
        each = statistics.median(of_rounds) / section.iterations
        print(f"{name:<10}{1000 * each:8.1f} ms of processor time an iteration")
    print(f"ratio     {statistics.median(seconds['torchreid']) / statistics.median(seconds['ours']):8.2f}")


def torchreids(data: ReidData, section: ReidConfig) -> float:
    """Processor seconds of its engine on its transforms, image by image."""
    model = build_model(section.model, data.people, "softmax", False, CPU)
    size = {"height": section.height, "width": section.width}
    transform, _ = torchreid.data.transforms.build_transforms(**size, transforms=list(section.transforms))
    loader = torch.utils.data.DataLoader(
        ManifestDataset(data, "train", transform), batch_size=section.batch_size, shuffle=True, drop_last=True
    )
    with quiet():
        manager = torchreid.data.datamanager.DataManager("rendered", **size)
    manager._num_train_pids, manager.train_loader, manager.test_loader = data.people, loader, {}
    optimizer = torchreid.optim.build_optimizer(model, optim="adam")
    scheduler = torchreid.optim.build_lr_scheduler(optimizer, "cosine", max_epoch=section.iterations)
    engine = torchreid.engine.ImageSoftmaxEngine(manager, model, optimizer, scheduler=scheduler, use_gpu=False)
    engine.set_model_mode("train")
    done, start = 0, time.process_time()
    while done < section.iterations:
        for batch in loader:
            engine.forward_backward(batch)
            done += 1
            if done == section.iterations:
                break
    return time.process_time() - start


def ours(data: ReidData, section: ReidConfig) -> float:
    """Processor seconds of our loop, the decoding of the images included."""
    model = build_model(section.model, data.people, "softmax", False, CPU)
    optimizer = torchreid.optim.build_optimizer(model, optim="adam")
    arm = settings_of_arms(section)["real"]
    start = time.process_time()
    images = TrainImages(data.train, (section.height, section.width), False, CPU, "images")
    model.train()
    for iteration, indices in enumerate(Batches(data.train, arm, section, 0)):
        loss, _ = training_loss(model, *images.batch(indices, arm.transforms, 0, iteration), section, arm)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - start


if __name__ == "__main__":
    main()
