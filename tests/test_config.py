import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from augment.base.errors import UsageError
from augment.config import Config, DataConfig, all_keys, differences, dump_yaml, load_config


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


def test_file_then_overrides(tmp_path):
    file = write(tmp_path, "gan:\n  iterations: 500\n  learning_rate: 1e-3\npairs: {seed: 4}\n")
    config = load_config(file, ["gan.iterations=7", "reid.seeds=[1, 2]", "gan.precision=bf16"])
    assert config.name == "mine" and config.folder == Path("outputs/mine")
    assert (config.gan.iterations, config.gan.learning_rate, config.pairs.seed) == (7, 1e-3, 4)
    assert config.reid.seeds == (1, 2)
    assert differences(config) == {
        "name": "mine", "pairs.seed": 4, "gan.iterations": 7, "gan.learning_rate": 1e-3, "gan.precision": "bf16",
        "reid.seeds": [1, 2],
    }  # fmt: skip
    other = load_config(file, ["gan.iterations=7", "reid.arms={real: {}, mixed: {weight: 0.5}}"])
    arms = {"reid.arms": ["real", "augmented"], "reid.arms.augmented": {}}
    found = {"gan.precision": "bf16", "reid.seeds": [1, 2], **arms}
    assert differences(config, other) == found
    assert differences(other, config)["reid.arms.mixed"] == {"weight": 0.5}


def test_arms_that_were_left_out_or_moved_are_a_difference():
    both, one, moved = (load_config(None, [f"reid.arms={arms}"])
                        for arms in ("[real, augmented]", "[real]", "[augmented, real]"))  # fmt: skip
    assert differences(both, both) == {}
    assert differences(one, both) == {"reid.arms": ["real"]}
    assert differences(both, one) == {"reid.arms": ["real", "augmented"], "reid.arms.augmented": {}}
    assert differences(moved, both) == {"reid.arms": ["augmented", "real"]}


def test_a_key_that_only_the_other_configuration_has_is_a_difference():
    with_path, without = load_config(None, ["flow.cluster={queue: gpu}"]), load_config()
    assert differences(load_config(None, ["flow.cluster={cores: 4}"]), with_path) == {
        "flow.cluster.cores": 4, "flow.cluster.queue": None}  # fmt: skip
    assert differences(without, with_path) == {"flow.cluster.queue": None}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gan.iteration=5", "unknown key gan.iteration. Did you mean gan.iterations?"),
        ("iterations=5", "unknown key iterations. Did you mean gan.iterations?"),
        ("gann.iterations=5", "unknown key gann. Did you mean gan?"),
        ("data.rendered.camera=5", "unknown key data.rendered.camera. Did you mean data.rendered.cameras?"),
        ("gan.iterations=-1", "gan.iterations: must be greater than or equal to 0 (got -1)"),
        ("gan.iterations=many", "gan.iterations: must be a whole number"),
        ("gan.system=best", "gan.system: must be 'baseline', 'dsc', 'percloss' or 'full' (got 'best')"),
        ("data.layout=cuhk", "data.layout: must be 'market1501', 'deepfashion' or 'rendered'"),
        ("gan.iterations", "--set gan.iterations: write it as section.key=value"),
        ("name.a=1", "--set name.a=1: 'name' is a value, not a section."),
        ("gan.iterations=[1", "--set gan.iterations=[1: the value is not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, override, message):
    file = write(tmp_path, "name: mine\n")
    with pytest.raises(UsageError) as caught:
        load_config(file, [override])
    assert message in str(caught.value)


def test_bad_files_are_named(tmp_path):
    for text, message in (
        ("gan: [1\n", "not valid YAML"),
        ("- gan\n", "must hold sections like 'gan:' with keys below them, not a list"),
        ("gan:\n  wdith: 0.5\n", "unknown key gan.wdith. Did you mean gan.width?"),
    ):
        with pytest.raises(UsageError) as caught:
            load_config(write(tmp_path, text))
        assert message in str(caught.value) and "mine.yaml" in str(caught.value)
    with pytest.raises(UsageError, match=r"gone\.yaml: no such configuration file"):
        load_config(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bytes\.yaml: cannot be read as a configuration"):
        load_config(tmp_path / "bytes.yaml")


def test_a_section_without_keys_has_its_defaults(tmp_path):
    assert differences(load_config(write(tmp_path, "gan:  # nothing\n"))) == {"name": "mine"}


@pytest.mark.parametrize("text", ["off", "no", "false", "False"])
def test_what_yaml_takes_for_no_compiles_nothing(text):
    assert load_config(None, [f"gan.compile={text}"]).gan.compile is False


def test_ways_to_compile_are_named_and_read_back(tmp_path):
    for mode in ("graph", "full"):
        config = load_config(None, [f"gan.compile={mode}"])
        file = write(tmp_path, dump_yaml(config))
        assert load_config(file) == config and config.gan.compile == mode
        assert config.identity() == Config().identity()
    with pytest.raises(UsageError, match=r"gan\.compile: .* 'auto', False, 'graph' or 'full' \(got True\)"):
        load_config(None, ["gan.compile=true"])


def test_dump_reads_back(tmp_path):
    config = load_config(None, ["data.layout=rendered", "gan.width=0.25", "pose.annotations={train: a.csv}"])
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml(config))
    assert load_config(file) == config


def test_runtime_fields_are_no_part_of_the_identity(tmp_path):
    here = load_config(None, ["data.root=/a", "gan.device=cuda", "flow.workers=8", "synthesis.device=cpu"])
    assert here.identity() == load_config().identity()
    assert "root" not in DataConfig().identity()
    assert load_config(None, ["data.rendered.seed=1"]).data.identity() != load_config().data.identity()


@given(st.sampled_from(all_keys()))
def test_every_key_has_a_default_that_can_be_set_again(key):
    value = load_config().model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    assert load_config(None, [f"{key}={text}"]) == Config()


@given(st.sampled_from([key for key in all_keys() if "." in key]), st.integers(0, 30))
def test_a_slip_of_the_finger_is_answered_with_a_key_that_exists(key, place):
    section, _, field = key.rpartition(".")
    slip = field[: place % len(field)] + "q" + field[place % len(field) :]
    if f"{section}.{slip}" in all_keys():
        return
    with pytest.raises(UsageError, match="unknown key") as caught:
        load_config(None, [f"{section}.{slip}=1"])
    message = str(caught.value)
    assert any(f"Did you mean {known}?" in message for known in all_keys()) or "Known here: " in message


def test_sections_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().gan.iterations = 5


def test_the_schema_has_the_code_s_descriptions_limits_and_choices():
    sections = Config.model_json_schema()["$defs"]
    gan = sections["GanConfig"]["properties"]
    assert gan["system"]["enum"] == ["baseline", "dsc", "percloss", "full"]
    assert gan["batch_size"] | {"minimum": 1, "default": 4} == gan["batch_size"]
    assert gan["batch_size"]["description"] == "Of all processes together."
    assert sections["PoseConfig"]["description"].startswith("How the 18 joints are estimated")
    assert all("title" in field for section in sections.values() for field in section["properties"].values()
               if "$ref" not in field)  # fmt: skip


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pairs.seed=-1", "pairs.seed: must be greater than or equal to 0"),
        (f"gan.seed={2**32}", "gan.seed: must be less than 4294967296"),
        (f"synthesis.seed={10**30}", "synthesis.seed: "),
        ("reid.seeds=[0, -1]", "reid.seeds.1: must be greater than or equal to 0"),
        ("gan.image_size=[0, 0]", "gan.image_size.0: must be greater than or equal to 16"),
        ("gan.image_size=[100000, 64]", "gan.image_size.0: must be less than or equal to 1024"),
        ("gan.neighbourhood=0", "gan.neighbourhood: must be greater than or equal to 1"),
        ("gan.neighbourhood=4", "gan.neighbourhood: must be odd (got 4)"),
        ("gan.learning_rate=.nan", "gan.learning_rate: must be a finite number"),
        ("reid.arms.augmented.weight=.inf", "reid.arms.augmented.weight: must be a finite number"),
        ("gan.iterations=1e30", "gan.iterations: "),
        ("reid.batch_size=1e9", "reid.batch_size: must be less than or equal to 65536"),
        ("data.rendered.train_identities=10000000000", "data.rendered.train_identities: must be less than or"),
        ("data.rendered={train_identities: 1000, images_per_identity: 10000}", "data.rendered: 10,4"),
        ("name=''", "name: a name has up to 100 letters"),
        ("name=../../tmp/x", "name: a name has"),
        ("name=..", "name: a name has"),
        ("name=" + "n" * 300, "name: a name has"),
        ('name="a\\eb"', "name: a name has"),
        ("output=~nobody-of-this-name/x", "output: there is no such user"),
        ("gan={seed: 1, seed: 2}", "seed is given twice"),
        ("reid.arms=real", "reid.arms: must be a list of ready-made arms, like [real, augmented], or have an arm's"),
        ("gan.image_size=128", "gan.image_size: must be height and width, like [128, 64]"),
    ],
)
def test_impossible_values_are_named(override, message):
    with pytest.raises(UsageError) as caught:
        load_config(None, [override])
    assert message in str(caught.value)
    assert len(str(caught.value)) < 700


def test_the_largest_values_are_taken():
    config = load_config(None, [f"pairs.seed={2**32 - 1}", "gan.neighbourhood=31", "name=" + "ü" * 50])
    assert (config.pairs.seed, config.gan.neighbourhood) == (2**32 - 1, 31)


def test_a_tilde_is_the_users_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    config = load_config(None, ["output=~/runs/x", "data.root='~'", "gan.vgg_weights=~/vgg.pth",
                                "pose.annotations.train=a.csv"])  # fmt: skip
    assert config.output == Path("/home/somebody/runs/x") and config.data.root == Path("/home/somebody")
    assert config.gan.vgg_weights == "/home/somebody/vgg.pth" and config.pose.annotations == {"train": "a.csv"}


def test_files_that_are_bombs_pipes_or_devices_are_told_at_once(tmp_path):
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    wide = "a: &a [" + "x, " * 9_000 + "x]\nb: [" + "*a, " * 9_000 + "*a]\n"
    for text in (bomb, wide, "a: &a [*a]\n", "a: " + "[" * 100 + "]" * 100, "[" * 100_000, "a: x\n" * 300_000):
        with pytest.raises(UsageError) as caught:
            load_config(write(tmp_path, text))
        assert "mine.yaml: " in str(caught.value) and len(str(caught.value)) < 700
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(UsageError, match="cannot be read as a configuration"):
            load_config(path)


def test_an_empty_file_is_no_configuration(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    with pytest.raises(UsageError, match=r"empty\.yaml: is empty\. `augment config show NAME` prints one"):
        load_config(tmp_path / "empty.yaml")


def test_a_key_below_a_list_of_arms(tmp_path):
    (tmp_path / "few.yaml").write_text("reid:\n  arms: [real, mixed]\n")
    with pytest.raises(UsageError, match=r"'arms' is a value, not a section\. It is a list there: give it keys, like"):
        load_config(tmp_path / "few.yaml", ["reid.arms.mixed.until=0.5"])


def test_a_folder_for_a_configuration(tmp_path):
    with pytest.raises(UsageError, match="is a folder, not a configuration file"):
        load_config(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UsageError, match=r"is the folder of a run; its configuration is .*config\.yaml"):
        load_config(tmp_path)


def test_further_files_are_found_by_name_too(tmp_path):
    assert load_config(None, others=[Path("runner/ray")]).flow.runner == "ray"
    with pytest.raises(UsageError, match=r"--with runner/nothing: no such file\. With the package come runner/"):
        load_config(None, others=[Path("runner/nothing")])


def test_types_are_named_as_yaml_has_them(tmp_path):
    for override, said in (
        ("reid.seeds=3", "must be a list, like"), ("gan=5", "is a section, with keys below it (got 5)"),
        ("gan.iterations=1.5", "must be a whole number"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=re.escape(said)):
            load_config(None, [override])
    with pytest.raises(UsageError, match=r"line 2: .*YAML indents with spaces"):
        load_config(write(tmp_path, "gan:\n\titerations: 5\n"))
    for nothing in ("None", "null", "~"):
        assert load_config(None, [f"data.train_identities={nothing}"]).data.train_identities is None
    assert load_config(write(tmp_path, "gan:\n  # iterations: 5\n"), ["gan.width=0.5"]).gan.width == 0.5


def test_a_byte_order_mark_and_a_merged_section_are_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbfgan: &gan {iterations: 7}\n")
    assert load_config(file).gan.iterations == 7
    file.write_text("reid:\n  arms:\n    real: &real {real: 8}\n    augmented: {<<: *real, synthetic: 8}\n")
    assert load_config(file).reid.arms["augmented"].real == 8


def test_a_key_given_twice_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"(?s)mine\.yaml: not valid YAML: line 3: gan is given twice"):
        load_config(write(tmp_path, "gan: {iterations: 7}\nname: x\ngan: {width: 0.5}\n"))


def test_of_many_problems_five_are_told():
    with pytest.raises(UsageError, match=r"; and 95 more$"):
        load_config(None, [f"gan.q{n}=1" for n in range(100)])


@pytest.mark.parametrize("name", ["a?b", "a/b", "~a", ".."])  # ? would end the path of Prefect's database
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(UsageError, match="it becomes a folder"):
        load_config(None, [f"name='{name}'"])
