"""Training that can be trusted: exact resume, and plain words when it fails."""

import copy
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_run import TINY, make_run

from augment.base.errors import AugmentError, UsageError
from augment.base.shuffling import Shuffled
from augment.base.storage.copies import move as storage_move
from augment.config import GanConfig
from augment.gan.checkpoints import load_generator, read_header
from augment.gan.dataset import load_pair_data, to_network, to_uint8
from augment.gan.penalty import EVERY
from augment.gan.stage import train_gan
from augment.gan.trainer import Trainer
from augment.gan.training import Training
from augment.manifest import Manifest, verify, write_manifest

LOSSES = ("discriminator", "generator_adversarial", "generator_reconstruction")
CPU = torch.device("cpu")
HERE = Path(__file__).parent
DROPS = TINY.model_copy(update={"width": 1 / 8})

SCRIPT = """
import sys; sys.path.insert(0, {here!r})
from pathlib import Path
from tiny_run import TINY
from augment.config import GanConfig
from augment.gan.stage import train_gan
from augment.manifest import Manifest, verify
run = Path({run!r})
inputs = [Manifest(run / kind / f"{{kind}}.parquet") for kind in ("images", "poses", "pairs")]
train_gan(TINY.model_copy(update={update!r}), *inputs, Path({folder!r}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_run(folder)
    return folder


def inputs(run):
    return [Manifest(run / kind / f"{kind}.parquet") for kind in ("images", "poses", "pairs")]


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    """One training from start to end, to compare with."""
    return train_gan(TINY, *inputs(run), tmp_path_factory.mktemp("undisturbed"))


def script(run, folder, **update):
    return SCRIPT.format(here=str(HERE), run=str(run), folder=str(folder), update=update)


def weights_of(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.safetensors"))}


def interrupted_after(monkeypatch, iterations):
    """The training stops where a kill would stop it: right after so many steps of this process."""
    step = Trainer.step
    left = [iterations]

    def limited(self):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        step(self)

    monkeypatch.setattr(Trainer, "step", limited)


def test_the_manifest_names_last_best_and_steps(undisturbed):
    frame = undisturbed.frame().set_index("id")
    assert frame.loc["gan/last", "iteration"] == 6
    assert verify(undisturbed).empty
    validation = frame["losses"].map(lambda text: json.loads(text)["validation"])
    assert frame.loc["gan/best", "iteration"] == frame["iteration"][validation.idxmin()]
    assert set(json.loads(frame.loc["gan/last", "losses"])) == {*LOSSES, "validation"}
    # keep_checkpoints=1 beside last and best; the chain of parents goes through what was there at the time
    folder = undisturbed.path.parent
    assert sorted(weights_of(folder)) == sorted(set(frame["path"]))
    assert frame.loc["gan/last", "parent"] == frame.loc[frame["iteration"] == 4, "sha256"].iloc[0]
    assert [path.name for path in folder.glob("state-*.pt")] == ["state-000006.pt"]
    header = read_header(folder / frame.loc["gan/last", "path"])
    assert (header["iteration"], header["digest"]) == (6, undisturbed.provenance["digest"])


def test_raw_and_average_weights_differ(undisturbed):
    path = undisturbed.path.parent / "weights-000006.safetensors"
    raw, average = (load_generator(path, weights=kind)[0].state_dict() for kind in ("raw", "average"))
    assert any(not torch.equal(raw[name], average[name]) for name in raw)


def test_a_finished_training_is_not_repeated(undisturbed, run, monkeypatch):
    interrupted_after(monkeypatch, 0)
    before = undisturbed.path.stat().st_mtime_ns
    again = train_gan(TINY, *inputs(run), undisturbed.path.parent)
    assert again.path.stat().st_mtime_ns == before


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_stopped_anywhere_and_resumed_gives_the_same_bytes(undisturbed, run, tmp_path, monkeypatch, stop):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupted_after(patch, stop)
        train_gan(TINY, *inputs(run), tmp_path)
    resumed = train_gan(TINY, *inputs(run), tmp_path)
    assert weights_of(tmp_path) == weights_of(undisturbed.path.parent)
    assert resumed.digest == undisturbed.digest
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4, 6]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["000000.jpg", "000003.jpg", "000006.jpg"]


@pytest.mark.slow
def test_killed_and_called_again_gives_the_same_bytes(undisturbed, run, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", script(run, tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("state-*.pt")):
        assert process.poll() is None or any(tmp_path.glob("state-*.pt"))
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = train_gan(TINY, *inputs(run), tmp_path)
    assert weights_of(tmp_path) == weights_of(undisturbed.path.parent)
    assert resumed.table.equals(undisturbed.table)


def test_what_does_not_matter_does_not_matter(undisturbed, run, tmp_path):
    """Settings that only say how to work leave the weights as they are."""
    other = TINY.model_copy(update={"log_every": 5, "sample_every": 4})
    made = train_gan(other, *inputs(run), tmp_path)
    assert made.table.equals(undisturbed.table)
    assert weights_of(tmp_path) == weights_of(undisturbed.path.parent)


@pytest.mark.parametrize("self_pairs", [0, 0.5])
def test_all_that_is_random_is_resumed_too(run, self_pairs):
    """Steps after restoring are those of a training that never stopped; with dropout off they would be others."""
    section = DROPS.model_copy(update={"self_pairs": self_pairs})
    data = load_pair_data(section, *inputs(run), CPU)
    straight, resumed = Trainer(section, data, CPU), Trainer(section, data, CPU)
    straight.step()
    resumed.restore(copy.deepcopy(straight.state()))  # as a file would hold it
    for trainer in (straight, resumed):
        for _ in range(EVERY):  # the gradient penalty once among them
            trainer.step()
    assert straight.generator.noise_shapes
    for expected, parameter in zip(straight.generator.parameters(), resumed.generator.parameters(), strict=True):
        assert torch.equal(expected, parameter)


def test_how_a_state_was_made_does_not_bind_who_goes_on_with_it(run):
    """Saved by a captured training, say, or by one with another optimiser kernel: settings are the new trainer's."""
    data = load_pair_data(TINY, *inputs(run), CPU)
    first, second = Trainer(TINY, data, CPU), Trainer(TINY, data, CPU)
    first.step()
    state = copy.deepcopy(first.state())
    optimizers = ("generator_optimizer", "discriminator_optimizer")
    for name in optimizers:
        for group in state[name]["param_groups"]:
            group.update(capturable=True, fused=False, foreach=True)
    work = second._work = object()  # what captured the optimisers' former tensors
    second.restore(state)
    assert second._work is not work
    for name in optimizers:
        original, restored = getattr(first, name), getattr(second, name)
        for group in restored.param_groups:
            assert {key: group[key] for key in restored.defaults} == restored.defaults
            assert (group["capturable"], group["fused"], group["foreach"]) == (False, True, None)
        moments = [(entry["exp_avg"], entry["exp_avg_sq"], entry["step"]) for entry in restored.state.values()]
        assert moments
        for mine, theirs in zip(moments, original.state.values(), strict=True):
            assert all(map(torch.equal, mine, (theirs["exp_avg"], theirs["exp_avg_sq"], theirs["step"])))
    first.step()
    second.step()
    for expected, parameter in zip(first.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(expected, parameter)


@pytest.mark.parametrize("mode", ["graph", "full"])
def test_on_a_cpu_nothing_is_compiled_and_that_is_said(run, mode, monkeypatch):
    said = []
    monkeypatch.setattr("augment.gan.trainer.say", said.append)
    data = load_pair_data(TINY, *inputs(run), CPU)
    trainer = Trainer(TINY.model_copy(update={"compile": mode}), data, CPU)
    assert said == [f"gan.compile={mode} needs CUDA and has no effect on this cpu."]
    assert trainer._synced_generator is trainer.generator and trainer._work == trainer._iterate
    assert not any(group["capturable"] for group in trainer.generator_optimizer.param_groups)


def test_a_step_leaves_the_choice_of_kernels_as_it_was(run, monkeypatch):
    """Only training may take whichever is fastest at the moment; what is drawn later must not depend on it."""
    trainer = Trainer(TINY, load_pair_data(TINY, *inputs(run), CPU), CPU)
    iterate, seen = trainer._work, []
    monkeypatch.setattr(trainer, "_work", lambda *given: seen.append(torch.backends.cudnn.benchmark) or iterate(*given))
    trainer.step()
    assert seen == [True] and not torch.backends.cudnn.benchmark


def test_another_configuration_starts_anew_and_keeps_the_old_training(run, tmp_path):
    first = TINY.model_copy(update={"iterations": 2})
    other = first.model_copy(update={"seed": 1})
    digest = train_gan(first, *inputs(run), tmp_path).provenance["digest"]
    before = weights_of(tmp_path)
    train_gan(other, *inputs(run), tmp_path)
    assert weights_of(tmp_path) != before
    assert weights_of(tmp_path / "earlier" / digest[:16]) == before
    back = train_gan(first, *inputs(run), tmp_path)  # taken back, not trained again
    assert back.provenance["digest"] == digest
    assert weights_of(tmp_path) == before
    assert not (tmp_path / "earlier" / digest[:16]).exists()


@pytest.mark.parametrize("then", [0, 1])
def test_a_move_that_was_interrupted_is_completed(run, tmp_path, monkeypatch, then):
    """The old configuration again, or the new one: the training that was half moved is whole in either case."""
    first = TINY.model_copy(update={"iterations": 2})
    digest = train_gan(first, *inputs(run), tmp_path).provenance["digest"]
    before = weights_of(tmp_path)
    moved = []

    def move(path, target):
        moved.append(path.name)
        if len(moved) > 4:
            raise KeyboardInterrupt
        storage_move(path, target)

    monkeypatch.setattr("augment.gan.folder.move", move)
    with pytest.raises(KeyboardInterrupt):
        train_gan(first.model_copy(update={"seed": 1}), *inputs(run), tmp_path)
    monkeypatch.undo()
    assert weights_of(tmp_path) != before
    if then == 0:
        monkeypatch.setattr(Trainer, "step", lambda self: pytest.fail("it was trained already"))
    train_gan(first.model_copy(update={"seed": then}), *inputs(run), tmp_path)
    assert weights_of(tmp_path if then == 0 else tmp_path / "earlier" / digest[:16]) == before


def test_what_the_table_names_is_there_while_the_training_goes_on(run, tmp_path, monkeypatch):
    short = TINY.model_copy(update={"iterations": 2, "checkpoint_every": 1, "keep_checkpoints": 0})
    made = train_gan(short, *inputs(run), tmp_path)
    problems = []
    save = Training._checkpoint
    monkeypatch.setattr(Training, "_checkpoint", lambda self: save(self) or problems.extend(verify(made)["problem"]))
    longer = train_gan(short.model_copy(update={"iterations": 6}), *inputs(run), tmp_path)
    assert problems == []
    assert set(weights_of(tmp_path)) == set(longer.frame()["path"])


def test_a_state_of_another_configuration_is_refused(undisturbed, run, tmp_path):
    state = undisturbed.path.parent / "state-000006.pt"
    with pytest.raises(AugmentError, match=r"another configuration: gan.learning_rate is 0.0002 there, 0.001 here"):
        train_gan(TINY.model_copy(update={"learning_rate": 1e-3}), *inputs(run), tmp_path, resume_from=state)


def test_a_longer_training_may_go_on_from_a_shorter_one(undisturbed, run, tmp_path):
    state = undisturbed.path.parent / "state-000006.pt"
    longer = TINY.model_copy(update={"iterations": 8})
    went_on = train_gan(longer, *inputs(run), tmp_path / "on", resume_from=state)
    at_once = train_gan(longer, *inputs(run), tmp_path / "at_once")
    last = [manifest.frame().set_index("id").loc["gan/last"] for manifest in (went_on, at_once)]
    assert last[0]["losses"] == last[1]["losses"]
    files = [manifest.path.parent / "weights-000008.safetensors" for manifest in (went_on, at_once)]
    for parameter, expected in zip(*(load_generator(file)[0].parameters() for file in files), strict=True):
        assert torch.equal(parameter, expected)
    with pytest.raises(AugmentError, match="already has 6 iterations"):
        train_gan(TINY, *inputs(run), tmp_path / "same", resume_from=state)


def test_more_iterations_go_on_in_the_same_folder(undisturbed, run, tmp_path, monkeypatch):
    train_gan(TINY.model_copy(update={"iterations": 4}), *inputs(run), tmp_path)
    steps = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self: steps.append(self.iteration) or step(self))
    longer = train_gan(TINY, *inputs(run), tmp_path)
    assert steps == [4, 5]
    columns = ["id", "iteration", "config_digest", "losses"]  # a file's header says how long it was to be trained
    pd.testing.assert_frame_equal(longer.frame()[columns], undisturbed.frame()[columns])
    files = [manifest.path.parent / "weights-000006.safetensors" for manifest in (longer, undisturbed)]
    for parameter, expected in zip(*(load_generator(file)[0].parameters() for file in files), strict=True):
        assert torch.equal(parameter, expected)
    assert not (tmp_path / "earlier").exists()
    assert [json.loads(line)["iteration"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [2, 4, 6]


def test_fewer_iterations_start_anew_and_the_longer_training_is_kept(undisturbed, run, tmp_path):
    train_gan(TINY, *inputs(run), tmp_path)
    shorter = train_gan(TINY.model_copy(update={"iterations": 4}), *inputs(run), tmp_path)
    assert shorter.frame()["iteration"].max() == 4
    assert weights_of(tmp_path / "earlier" / undisturbed.provenance["digest"][:16]) == weights_of(
        undisturbed.path.parent
    )
    assert train_gan(TINY, *inputs(run), tmp_path).table.equals(undisturbed.table)


def test_lost_weights_are_written_again(undisturbed, run, tmp_path):
    made = train_gan(TINY, *inputs(run), tmp_path)
    (tmp_path / "weights-000006.safetensors").unlink()
    assert train_gan(TINY, *inputs(run), tmp_path).table.equals(made.table)
    assert weights_of(tmp_path) == weights_of(undisturbed.path.parent)


def test_lost_weights_keep_the_header_of_their_own_training(run, tmp_path):
    train_gan(TINY, *inputs(run), tmp_path)
    (tmp_path / "weights-000006.safetensors").unlink()
    longer = TINY.model_copy(update={"iterations": 8, "keep_checkpoints": 9})
    made = train_gan(longer, *inputs(run), tmp_path)
    assert (tmp_path / "weights-000006.safetensors").exists() and verify(made).empty


def test_a_batch_must_be_shareable(run, monkeypatch):
    monkeypatch.setattr("augment.gan.processes.world_size", lambda: 3)
    with pytest.raises(UsageError, match=r"gan.batch_size=2 cannot be shared by 3 processes"):
        Trainer(TINY, load_pair_data(TINY, *inputs(run), CPU), CPU)


def test_losses_that_are_no_numbers_stop_the_training(run, tmp_path, monkeypatch):
    step = Trainer.step

    def poisoned(self):
        step(self)
        if self.iteration == 3:
            self.generator.decoder.to_image.bias.data.fill_(torch.nan)

    monkeypatch.setattr(Trainer, "step", poisoned)
    with pytest.raises(AugmentError, match=r"failed by iteration 4: .*weights-000002.safetensors.*gan.learning_rate"):
        train_gan(TINY, *inputs(run), tmp_path)
    assert list(weights_of(tmp_path)) == ["weights-000002.safetensors"]
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["iteration"] == 2


def test_exploding_losses_stop_the_training(run, tmp_path, monkeypatch):
    read = Trainer.read_losses
    monkeypatch.setattr(Trainer, "read_losses", lambda self, since: {
        name: value * 10.0 ** (self.iteration - 2) ** 2 for name, value in read(self, since).items()
    })  # fmt: skip
    with pytest.raises(AugmentError, match=r"failed by iteration 4: .* it was .* at first"):
        train_gan(TINY, *inputs(run), tmp_path)


def test_mixed_precision_stays_close_to_full(run):
    data = load_pair_data(DROPS, *inputs(run), CPU)
    losses = []
    for precision in ("fp32", "bf16"):
        trainer = Trainer(DROPS.model_copy(update={"precision": precision}), data, CPU)
        for _ in range(3):
            trainer.step()
        losses.append(trainer.read_losses("log"))
    for name in LOSSES:
        assert losses[1][name] == pytest.approx(losses[0][name], rel=0.03)


def test_losses_fall(run):
    section = GanConfig(width=1 / 8, features="patches", batch_size=4, device="cpu")
    trainer = Trainer(section, load_pair_data(section, *inputs(run), CPU), CPU)
    means = []
    for _ in range(2):
        for _ in range(15):
            trainer.step()
        means.append(trainer.read_losses("log")["generator_reconstruction"])
    assert means[1] < 0.9 * means[0]


def test_pairs_come_once_an_epoch_whatever_is_asked_before():
    order = Shuffled(7, 3)
    stream = np.concatenate([order.take(start, 3) for start in range(0, 21, 3)])
    assert all(sorted(stream[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    assert not np.array_equal(stream[:7], stream[7:14])
    np.testing.assert_array_equal(Shuffled(7, 3).take(4, 12), stream[4:16])


def test_images_go_to_the_network_and_back_unchanged():
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    scaled = to_network(images)
    assert (scaled.min(), scaled.max()) == (-1, 1)
    assert torch.equal(to_uint8(scaled), images)


def test_no_training_pair_is_said(run, tmp_path):
    images, poses, pairs = inputs(run)
    frame = pairs.frame()
    none = write_manifest(tmp_path / "pairs.parquet", "pairs", frame[frame["split"] == "test"], {"digest": "x"})
    with pytest.raises(AugmentError, match="holds no training pair"):
        train_gan(TINY, images, poses, none, tmp_path / "gan")


def test_images_of_other_sizes_are_resized_with_their_joints(tmp_path):
    manifests = make_run(tmp_path, size=(60, 30))
    section = TINY.model_copy(update={"image_size": (32, 16)})
    data = load_pair_data(section, *manifests, CPU)
    assert data.image_size == (32, 16)
    original = manifests[1].frame().set_index("id").loc["train/0001_c1s1_000000_01"]
    ids = sorted({*manifests[2].frame()["from"]})
    expected = (original["x"][0] + 0.5) * 16 / 30 - 0.5
    assert data.joints[ids.index("train/0001_c1s1_000000_01"), 0, 0] == pytest.approx(expected, abs=1e-4)
