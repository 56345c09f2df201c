import numpy as np
import pytest
import torch

from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.pose.annotations import write_posegan_csv
from augment.pose.estimator import openpifpaf_adapter as adapter
from augment.pose.estimator import training
from augment.pose.estimator.checkpoints import Checkpoint, find_checkpoint
from augment.pose.estimator.labelled import Example, LabelledCrops, load_examples
from augment.pose.estimator.targets import ABSENT, LABELLED, UNLABELLED
from augment.pose.skeleton import COCO_MIRROR, COCO_NAMES, to_coco


def examples(count):
    random = np.random.default_rng(0)
    return [
        Example(f"{n}.jpg", random.integers(0, 255, (128, 64, 3), dtype=np.uint8), random.uniform(5, 60, (18, 2)))
        for n in range(count)
    ]


def test_mirror_swaps_left_and_right():
    for index, other in enumerate(COCO_MIRROR):
        name = COCO_NAMES[index]
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert COCO_NAMES[other] == swapped


@pytest.fixture
def people_only(monkeypatch):
    monkeypatch.setattr(training, "_SHUFFLED", 0.0)
    monkeypatch.setattr(training, "_BLOWN_UP", 0.0)


def test_pictures_of_nobody_have_no_joints(monkeypatch):
    monkeypatch.setattr(training, "_SHUFFLED", 1.0)
    crops = torch.randint(0, 255, (4, 128, 64, 3), dtype=torch.uint8)
    everything = torch.ones(4, 17, dtype=torch.bool)
    _, _, state = training.augment(crops, torch.full((4, 17, 2), 30.0), everything, torch.Generator().manual_seed(0))
    assert (state == ABSENT).all()
    images = crops.permute(0, 3, 1, 2).float()
    shuffled = training._shuffle(images, torch.Generator().manual_seed(0))
    assert not torch.equal(shuffled, images)
    torch.testing.assert_close(shuffled.flatten().sort().values, images.flatten().sort().values)  # the same pixels


def test_augmented_joints_stay_on_their_pixels(people_only):
    """A bright dot is painted at a joint; after augmentation the joint lies on the brightest pixel."""
    count = 16
    crops = torch.full((count, 128, 64, 3), 40, dtype=torch.uint8)
    joints = torch.full((count, 17, 2), 20.0)
    random = np.random.default_rng(1)
    for n in range(count):
        x, y = random.integers(15, 49), random.integers(30, 98)
        crops[n, y - 1 : y + 2, x - 1 : x + 2] = 120
        crops[n, y, x] = 255
        joints[n, 5] = torch.tensor([x, y])
    images, points, state = training.augment(
        crops, joints, torch.ones(count, 17, dtype=torch.bool), torch.Generator().manual_seed(0)
    )
    mirrored = 0
    for n in range(count):
        bright = images[n].sum(0)
        y, x = divmod(int(bright.argmax()), bright.shape[1])
        distances = (points[n, [5, 6]] - torch.tensor([x, y])).norm(dim=1)
        mirrored += int(distances[1] < distances[0])  # the left shoulder became the right one
        assert distances.min() < 1.5
        assert state[n, 5 + int(distances[1] < distances[0])] == LABELLED
    assert 0 < mirrored < count


def test_what_was_not_published_is_unlabelled_or_absent_and_a_face_always_absent(people_only):
    known = torch.zeros(64, 17, dtype=torch.bool)
    crops = torch.zeros(64, 128, 64, 3, dtype=torch.uint8)
    _, _, state = training.augment(crops, torch.zeros(64, 17, 2), known, torch.Generator().manual_seed(0))
    assert (state[:, :5] == ABSENT).all()
    share = (state[:, 5:] == UNLABELLED).float().mean()
    assert 0.4 < share < 0.6


def test_crops_of_another_size_are_brought_to_one_with_their_joints():
    joints = np.full((18, 2), np.nan)
    joints[0] = (127, 255)  # last pixel
    data = LabelledCrops.of([Example("a.jpg", np.zeros((256, 128, 3), np.uint8), joints)])
    assert data.crops.shape == (1, 128, 64, 3)
    np.testing.assert_allclose(data.joints[0, 0], [63.25, 127.25])  # its centre, on the coarser grid
    assert data.known.sum() == 1


def test_the_rate_warms_up_and_falls_as_a_cosine():
    assert training.rate(0, 0.0, 1.0) == pytest.approx(0.01)
    assert training.rate(1000, 0.0, 1.0) == 1.0
    assert training.rate(1000, 0.5, 1.0) == pytest.approx(0.5)
    assert training.rate(1000, 1.0, 1.0) == pytest.approx(1e-3)


def test_batches_go_on_where_they_were():
    data = LabelledCrops.of(examples(10))

    def first_pixels(first, count):
        made = training._batches(data, 3, seed=0, first=first)
        return [next(made)[0][:, 0, 0].tolist() for _ in range(count)]

    assert first_pixels(0, 7)[4:] == first_pixels(4, 3)


@pytest.mark.slow
def test_training_goes_on_after_an_interruption_and_writes_what_openpifpaf_loads(tmp_path, monkeypatch):
    clock = iter(np.arange(0, 6000, 30.0).tolist())  # half a minute a step
    monkeypatch.setattr(training, "monotonic", lambda: next(clock))
    output = tmp_path / "mine.pkl"
    arguments = {"start": find_checkpoint("crops"), "batch_size": 4, "save_every_minutes": 0.5}
    training.train_estimator(examples(8), output, minutes=1.0, **arguments)
    before = torch.load(f"{output}.state", weights_only=True)
    training.train_estimator(examples(8), output, minutes=2.0, **arguments)
    after = torch.load(f"{output}.state", weights_only=True)
    assert 0 < before["step"] < after["step"]
    network = adapter.load_network(output, sha256_file(output))
    assert torch.isfinite(network(torch.rand(1, 3, 161, 81))[0]).all()
    content = torch.load(output, weights_only=False)
    assert set(content) == {"model", "epoch", "meta"}


def test_too_little_to_learn_from(tmp_path):
    with pytest.raises(AugmentError, match="Only 3 crops with joints to train on; at least 32 are needed"):
        training.train_estimator(examples(3), tmp_path / "a.pkl", start=find_checkpoint("crops"))


def test_the_network_for_inference_is_the_same_function():
    checkpoint = find_checkpoint("crops")
    network = adapter.load_network(checkpoint.path, checkpoint.sha256)
    folded = adapter.for_inference(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    image = torch.rand(2, 3, 161, 81, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for ours, theirs in zip(folded(image), network(image), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_examples_with_too_few_joints_or_no_file_are_left_out(tmp_path, capsys):
    import pandas as pd
    from PIL import Image

    few = np.full((18, 2), np.nan)
    few[:7] = 1
    frame = pd.DataFrame({
        "name": ["a.jpg", "few.jpg", "gone.jpg"],
        "x": [np.arange(18.0), few[:, 0], np.arange(18.0)], "y": [np.arange(18.0), few[:, 1], np.arange(18.0)],
    })  # fmt: skip
    write_posegan_csv(frame, tmp_path / "a.csv")
    for name in ("a.jpg", "few.jpg"):
        Image.new("RGB", (64, 128)).save(tmp_path / name)
    found = load_examples(tmp_path, tmp_path / "a.csv")
    assert [example.name for example in found] == ["a.jpg"]
    assert "1 of its 2 labelled crops are not in" in capsys.readouterr().err
    np.testing.assert_array_equal(to_coco(found[0].joints)[0], [0, 0])
    with pytest.raises(AugmentError, match="names no readable image"):
        load_examples(tmp_path / "nowhere", tmp_path / "a.csv")


def test_a_checkpoint_is_named_with_its_hash(tmp_path):
    with pytest.raises(AugmentError, match="the checkpoint cannot be read: No such file"):
        adapter.load_network(tmp_path / "gone.pkl", "0" * 64)
    assert Checkpoint(tmp_path, "0").sha256 == "0"
