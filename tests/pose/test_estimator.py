import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.pose.estimator.checkpoints import Checkpoint, find_checkpoint
from augment.pose.estimator.evaluation import pck
from augment.pose.estimator.network_input import enlarge, input_size
from augment.pose.estimator.openpifpaf_adapter import load_network
from augment.pose.estimator.predictor import Estimator


@pytest.fixture(scope="module")
def crops():
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (128, 64, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def estimator():
    return Estimator(find_checkpoint("crops"), device="cpu", batch_size=4, joint_confidence=0.0, person_confidence=0.0)


def stacked(poses):
    return np.stack([pose.joints for pose in poses])


def test_the_grouping_of_crops_changes_no_bit(estimator, crops):
    together = stacked(estimator.estimate(crops))
    alone = np.concatenate([stacked(estimator.estimate([crop])) for crop in crops])
    assert together.tobytes() == alone.tobytes()


def test_crops_of_several_sizes_come_back_in_order(estimator, crops):
    mixed = [crops[0], crops[1][:100], crops[2], crops[3][:, :40]]
    found = stacked(estimator.estimate(mixed))
    expected = np.concatenate([stacked(estimator.estimate([crop])) for crop in mixed])
    np.testing.assert_array_equal(found, expected)


def test_nobody_is_in_noise(crops):
    sober = Estimator(find_checkpoint("crops"), device="cpu", batch_size=4)
    for pose in sober.estimate(crops):
        assert pose.people == 0 and np.isnan(pose.joints[:, :2]).all()


def test_no_crops(estimator):
    assert estimator.estimate([]) == []


@pytest.mark.parametrize(
    ("crop", "size"),
    [((128, 64), (161, 81)), ((256, 256), (161, 161)), ((256, 128), (161, 81)), ((64, 200), (49, 161))],
)
def test_input_sizes(crop, size):
    assert input_size(*crop) == size


def test_enlarge_is_bilinear():
    images = torch.rand(2, 3, 128, 64)
    expected = functional.interpolate(images, (161, 81), mode="bilinear", align_corners=True)
    torch.testing.assert_close(enlarge(images, (161, 81)), expected, atol=1e-6, rtol=0)


def test_pck_by_hand():
    truth = np.full((2, 18, 2), np.nan)
    predicted = np.full((2, 18, 2), np.nan)
    truth[:, 0] = 10
    predicted[0, 0], predicted[1, 0] = (10, 22.8), (10, 22.9)  # 12.8 is a tenth of 128
    truth[0, 1] = 5  # not found: wrong
    predicted[0, 2] = 5  # not known: does not count
    rates = pck(predicted, truth, np.array([128, 128]), 0.1)
    assert rates[0] == 0.5 and rates[1] == 0
    assert np.isnan(rates[2:]).all()


def test_a_file_needs_its_hash(tmp_path):
    path = tmp_path / "mine.pkl"
    path.write_bytes(b"anything")
    with pytest.raises(UsageError, match=rf"set pose.checkpoint_sha256 as well.*{sha256_file(path)}"):
        find_checkpoint(str(path))


def test_a_changed_file_is_not_unpickled(tmp_path):
    path = tmp_path / "mine.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    checkpoint = find_checkpoint(str(path), "0" * 64)
    with pytest.raises(AugmentError, match=r"its SHA-256 is [0-9a-f]{64}, not 0{64} as expected"):
        Estimator(checkpoint)


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "mine.pkl"
    path.write_bytes(b"text")
    with pytest.raises(AugmentError, match="not a checkpoint of openpifpaf"):
        Estimator(Checkpoint(path, sha256_file(path)))


def test_a_checkpoint_of_other_joints_is_named(tmp_path):
    shipped = find_checkpoint("crops")
    network = load_network(shipped.path, shipped.sha256)
    network.head_metas[0].keypoints = ["nose", "tail"]
    path = tmp_path / "animals.pkl"
    torch.save({"model": network}, path)
    with pytest.raises(AugmentError) as refused:
        load_network(path, sha256_file(path))
    assert str(refused.value) == f"{path}: finds nose, tail..., not COCO's 17 joints of a person."


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"neither a file nor a checkpoint.* Known names: crops, .*shufflenetv2k16"):
        find_checkpoint("shufflenet")


def test_the_shipped_checkpoint_cannot_be_given_another_hash():
    with pytest.raises(UsageError, match="is not that of the checkpoint 'crops'"):
        find_checkpoint("crops", "0" * 64)


def test_offline_the_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(AugmentError, match=r"cannot be downloaded.*pose.checkpoint=crops, which comes with"):
        find_checkpoint("shufflenetv2k16")


def test_the_cache_of_a_published_checkpoint_is_not_trusted(tmp_path, monkeypatch):
    """Its name says which file it was, not what lies there now: without a hash nothing is unpickled."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, file, **_: Path(file).write_bytes(b"a pickle"))
    digest = hashlib.sha256(b"a pickle").hexdigest()
    with pytest.raises(UsageError, match=rf"shufflenetv2k16: set pose.checkpoint_sha256 as well.*{digest}"):
        find_checkpoint("shufflenetv2k16")
    with pytest.raises(AugmentError, match=rf"openpifpaf's checkpoint: its SHA-256 begins with {digest[:8]}, not"):
        find_checkpoint("shufflenetv2k16", "0" * 64)  # whatever lies there now, it is not what its name states


def test_the_shipped_checkpoint_is_small_and_what_its_note_says():
    checkpoint = find_checkpoint("crops")
    assert checkpoint.path.stat().st_size <= 6_000_000
    assert sha256_file(checkpoint.path) == checkpoint.sha256
