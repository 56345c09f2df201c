"""Finished generators: found by name, exported in half precision with a card, begun with, used as they are."""

import json

import pytest
import torch
from click.testing import CliRunner
from tiny_run import SIZE, TINY, make_run

from augment.base.errors import AugmentError, UsageError
from augment.base.files import sha256_file
from augment.commands.common import read_config
from augment.commands.generator import gan
from augment.config import GanConfig, load_config
from augment.gan import generators
from augment.gan.checkpoints import load_generator, read_header
from augment.gan.generators import export_generator, find_generator, read_card, resolve_start, shipped
from augment.gan.stage import train_gan
from augment.gan.trainer import Trainer
from augment.manifest import verify

KINDS = ("images", "poses", "pairs")
CARD = {"data": "made-up crops", "time": "none", "figures": {"SSIM": 0.1}, "intended_use": "tests", "terms": "MIT"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of two iterations and its generator, exported as "tiny"."""
    folder = tmp_path_factory.mktemp("run")
    tables = make_run(folder)
    train_gan(TINY.model_copy(update={"iterations": 2}), *tables, folder / "gan")
    export_generator([folder], "tiny", CARD, folder / "shipped")
    return folder, tables


@pytest.fixture
def tiny(place, monkeypatch):
    monkeypatch.setattr(generators, "SHIPPED", place[0] / "shipped")
    return place[0] / "shipped" / "tiny.safetensors"


def test_an_export_holds_the_average_in_half_precision(place, tiny):
    trained = find_generator(place[0])
    original, exported = load_generator(trained)[0].state_dict(), load_generator(tiny)[0].state_dict()
    for name, tensor in original.items():
        assert torch.equal(exported[name], tensor.half().float())
    assert tiny.stat().st_size < trained.stat().st_size / 3
    with pytest.raises(AugmentError, match="has no raw weights"):
        load_generator(tiny, weights="raw")


def test_of_several_weights_the_mean_is_exported(place, tmp_path):
    section = TINY.model_copy(update={"iterations": 6, "checkpoint_every": 2, "keep_checkpoints": 3})
    train_gan(section, *place[1], tmp_path / "gan")
    files = sorted((tmp_path / "gan").glob("weights-*.safetensors"))
    assert len(files) == 3
    mean, _ = load_generator(export_generator(files, "mean", CARD, tmp_path))
    each = [load_generator(file)[0].state_dict() for file in files]
    for name, tensor in mean.state_dict().items():
        expected = sum(weights[name].double() for weights in each) / 3
        torch.testing.assert_close(tensor.double(), expected, rtol=2**-11, atol=2**-25)  # half precision
    assert read_card(tmp_path / "mean.safetensors")["exported_from"] == [sha256_file(file) for file in files]
    released = TINY.model_copy(update={"fidelity": "released", "iterations": 1})
    train_gan(released, *place[1], tmp_path / "released" / "gan")
    with pytest.raises(UsageError, match=r"released.* is of another architecture or image size than .*weights-000002"):
        export_generator([files[0], tmp_path / "released"], "mean", CARD, tmp_path)


def test_the_card_is_in_the_header_and_beside(place, tiny):
    card = read_card(tiny)
    assert {key: card[key] for key in CARD} == CARD
    assert card["iterations"] == 2 and card["settings"] == TINY.model_copy(update={"iterations": 2}).identity()
    assert card["exported_from"] == sha256_file(find_generator(place[0]))
    assert card["inputs"] == {kind: table.digest for kind, table in zip(KINDS, place[1], strict=True)}
    assert json.loads(tiny.with_suffix(".json").read_text()) == {**card, "sha256": sha256_file(tiny)}
    with pytest.raises(UsageError, match="a card states data, time, figures, intended_use, terms"):
        export_generator([place[0]], "other", {"data": "mine"}, place[0])
    with pytest.raises(AugmentError, match="has no card"):
        read_card(find_generator(place[0]))


def test_a_generator_is_found_by_name_file_or_run(place, tiny):
    assert find_generator("tiny") == find_generator(tiny) == tiny
    assert find_generator(place[0]).name == "weights-000002.safetensors"
    with pytest.raises(UsageError, match=r"nobody: neither a weights file.*Shipped: tiny"):
        find_generator("nobody")


def test_a_folder_of_a_shipped_name_that_is_no_run_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "market1501").mkdir()
    assert find_generator("market1501") == shipped()["market1501"]
    (tmp_path / "other").mkdir()
    with pytest.raises(AugmentError, match="not that of a run with a trained generator"):
        find_generator("other")


def test_training_begins_with_the_weights_and_says_so(place, tiny, tmp_path, monkeypatch):
    begun = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self: begun.append(
        [tensor.clone() for tensor in self.generator.state_dict().values()]) or step(self))  # fmt: skip
    section = TINY.model_copy(update={"iterations": 2, "start": "tiny"})
    manifest = train_gan(section, *place[1], tmp_path / "on")
    for tensor, expected in zip(begun[0], load_generator(tiny)[0].state_dict().values(), strict=True):
        assert torch.equal(tensor, expected)
    assert manifest.provenance["inputs"]["start"] == sha256_file(tiny)
    assert manifest.frame().set_index("id").loc["gan/last", "parent"] == sha256_file(tiny)
    by_file = section.model_copy(update={"start": str(tiny)})  # the content counts, not the name
    assert train_gan(by_file, *place[1], tmp_path / "on").provenance["digest"] == manifest.provenance["digest"]


def test_the_architecture_follows_from_the_start(tiny):
    assert resolve_start(TINY) is TINY
    section = resolve_start(GanConfig(start="tiny", batch_size=2))
    expected = {**GanConfig().identity(), "width": TINY.width, "batch_size": 2}
    assert section.identity() == expected and resolve_start(section) == section
    config = read_config(None, ("gan.start=tiny",))
    assert config.gan.width == TINY.width
    assert load_config(None, ["gan.start=tiny"]).gan.width == 1
    with pytest.raises(UsageError, match=r"gan\.fidelity=paper contradicts gan\.start=tiny, .* of fidelity modern"):
        resolve_start(GanConfig(start="tiny", fidelity="paper"))


def test_features_follow_from_a_start_too(place, tmp_path):
    released = TINY.model_copy(update={"fidelity": "released", "iterations": 1})
    train_gan(released, *place[1], tmp_path / "gan")
    section = resolve_start(GanConfig(start=str(tmp_path)))
    assert (section.fidelity, section.features) == ("released", "vgg19")


def test_no_iterations_use_the_generator_as_it_is(place, tiny, tmp_path):
    section = GanConfig(iterations=0, start="tiny", device="cpu")  # no VGG weights are asked for
    manifest = train_gan(section, *place[1], tmp_path)
    assert verify(manifest).empty
    frame = manifest.frame().set_index("id")
    assert list(frame.index) == ["gan/best", "gan/last"] and (frame["iteration"] == 0).all()
    for weights in ("raw", "average"):
        adopted, _ = load_generator(manifest.file_of(frame.loc["gan/last", "path"]), weights=weights)
        for tensor, expected in zip(
            adopted.state_dict().values(), load_generator(tiny)[0].state_dict().values(), strict=True
        ):
            assert torch.equal(tensor, expected)
    assert read_header(tmp_path / "weights-000000.safetensors")["parent"] == sha256_file(tiny)
    with pytest.raises(UsageError, match=r"name it with gan\.start"):
        train_gan(section.model_copy(update={"start": None}), *place[1], tmp_path / "other")


def test_a_start_of_other_settings_is_refused(place, tiny, tmp_path):
    wrong = TINY.model_copy(update={"start": "tiny", "width": 1 / 11})
    advice = r"Leave gan\.width out, train with a multiple of it, or start from another"
    with pytest.raises(UsageError, match=rf"gan\.width=0\.09.* contradicts gan\.start=tiny, .* 0\.0625\. {advice}"):
        train_gan(wrong, *place[1], tmp_path)
    as_it_is = TINY.model_copy(update={"start": "tiny", "width": 1 / 8, "iterations": 0})
    with pytest.raises(UsageError, match=r"Leave gan\.width out, or start from another"):
        train_gan(as_it_is, *place[1], tmp_path)
    larger = TINY.model_copy(update={"start": "tiny", "image_size": (64, 32), "iterations": 0})
    with pytest.raises(UsageError, match=rf"gan\.image_size=\[{SIZE[0]}, {SIZE[1]}\]"):
        train_gan(larger, *place[1], tmp_path / "larger")


def test_the_learning_rate_falls_linearly_to_zero(place, tmp_path, monkeypatch):
    rates = []
    step = Trainer.step

    def noted(self):
        step(self)
        rates.extend({group["lr"] for group in self.generator_optimizer.param_groups})

    monkeypatch.setattr(Trainer, "step", noted)
    section = TINY.model_copy(update={"iterations": 6, "decay_iterations": 4, "learning_rate": 1e-3})
    train_gan(section, *place[1], tmp_path)
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 7.5e-4, 5e-4, 2.5e-4])
    # at iteration 2 the rate has not begun to fall: a longer training may go on from there, but not from 4 or 6
    longer = section.model_copy(update={"iterations": 8})
    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(AugmentError, match="its learning rate was falling already"):
        train_gan(longer, *place[1], tmp_path / "other", resume_from=tmp_path / "state-000006.pt")
    again = train_gan(longer, *place[1], tmp_path)
    assert again.frame()["iteration"].max() == 8 and (tmp_path / "earlier").is_dir()
    with pytest.raises(ValueError, match="decay_iterations is 5, more than all 4 iterations"):
        GanConfig(iterations=4, decay_iterations=5)


def test_the_decay_may_be_set_before_it_begins(place, tmp_path, monkeypatch):
    train_gan(TINY.model_copy(update={"iterations": 2}), *place[1], tmp_path)
    steps = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self: steps.append(self.iteration) or step(self))
    section = TINY.model_copy(update={"iterations": 4, "decay_iterations": 2})
    train_gan(section, *place[1], tmp_path)
    assert steps == [2, 3]


def test_the_commands_list_and_export(place, tiny, tmp_path):
    listed = CliRunner().invoke(gan, ["list"], catch_exceptions=False).output
    assert listed.startswith("tiny  0.") and "full (modern, width 0.0625), 2 iterations" in listed
    assert "data: made-up crops" in listed and "figures: SSIM 0.1" in listed and "terms: MIT" in listed
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    arguments = ["export", str(place[0]), "again", "--card", str(tmp_path / "card.json"), "--output", str(tmp_path)]
    CliRunner().invoke(gan, arguments, catch_exceptions=False)
    assert read_card(tmp_path / "again.safetensors")["name"] == "again"
