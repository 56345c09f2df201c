"""The sections of a configuration, one for each stage: every setting with its type, its limits and its default.

The string below a field is its description, in the JSON schema and so in the form of Prefect's page.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from augment.config.fields import (
    Batch,
    Count,
    Edge,
    File,
    Location,
    Pattern,
    People,
    Runtime,
    Section,
    Seed,
    odd,
)  # fmt: skip


class RenderedConfig(Section):
    """The rendered demo set."""

    train_identities: People = 40
    test_identities: People = 40
    images_per_identity: int = Field(12, ge=2, le=10_000)
    cameras: int = Field(6, ge=2, le=999)
    seed: Seed = 0

    @model_validator(mode="after")
    def _can_be_listed(self) -> "RenderedConfig":
        images = (self.train_identities + self.test_identities) * self.images_per_identity
        if images > 10**6:
            raise ValueError(f"{images:,} images are more than the 1,000,000 that a demo set may have")
        return self


class SubsetConfig(Section):
    """A random subset of the training images: augmentation helps most where there are few."""

    identities: int | None = Field(None, ge=2, le=10**6)
    """Number of people; None: all."""
    images_per_identity: Count | None = None
    """Maximum number of images per person; the others get the split "left_out"; None: all."""
    seed: Seed = 0


class DataConfig(Section):
    """The data set: images and identities."""

    layout: Literal["market1501", "deepfashion", "rendered"] = "market1501"
    root: Location | None = Runtime(None)
    """The folder of the data set, or its address (s3://bucket/folder); None: $MARKET1501_ROOT or $DEEPFASHION_ROOT,
    else its usual name in ../data."""
    pattern: Pattern | None = None
    """Regular expression with the groups pid and camid that file names of data.root match (with a slash in it: paths),
    for other data sets and folders of crops; in a single folder the last third of the people are for testing. None: the
    layout's names."""
    validation_identities: int = Field(0, ge=0, le=10**6)
    """The last N training people, by pid, replace query and gallery: for validation, without the test set."""
    skip_identities: int = Field(0, ge=0, le=10**6)
    """The first N training people, by pid, are not used."""
    train_identities: People | None = None
    """Number of training people, the first after the skipped ones; None: all."""
    test_identities: People | None = None
    """Number of test people, the first of query and gallery; None: all."""
    subset: SubsetConfig = SubsetConfig()
    """Of the training images; query and gallery are not affected."""
    rendered: RenderedConfig = RenderedConfig()

    @model_validator(mode="after")
    def _pattern_has_a_folder(self) -> "DataConfig":
        if self.pattern is not None and (self.root is None or self.layout != "market1501"):
            raise ValueError("pattern needs data.root, the folder whose names it reads, and no other layout")
        return self


class PoseConfig(Section):
    """How the 18 joints are estimated, and which images are usable."""

    estimator: Literal["openpifpaf", "annotations"] = "openpifpaf"
    checkpoint: str = "crops"
    """"crops" ships with the package; else a file, or openpifpaf's name of a published checkpoint."""
    checkpoint_sha256: str | None = None
    """Required for a file: openpifpaf's checkpoints are pickles and can execute code."""
    annotations: dict[str, File] = Field({})
    """For each split a .csv (the paper's format) or .json (COCO key points)."""
    splits: tuple[str, ...] = ("train", "gallery")
    """Nothing is generated from queries, so they need no pose."""
    filter: Literal["torso", "detected"] = "torso"
    """torso: both hips and both shoulders (released code); detected: any joint (paper)."""
    joint_confidence: float = Field(0.3, ge=0, le=1)
    """With openpifpaf, joints below it are missing."""
    person_confidence: float = Field(0.45, ge=0, le=1)
    """With openpifpaf, there is no person where the mean over all joints is below it."""
    minimum_detection_rate: float = Field(0.2, ge=0, le=1)
    """Below it the run stops with an error."""
    batch_size: Batch = 32
    """A change reruns the stage: the last bits of a pose depend on it."""
    device: str = Runtime("auto")


class PairsConfig(Section):
    """Training and test pairs of images of a person."""

    test_pairs: Count = 12_000
    """Sampled from all ordered pairs of each person (Sec. 6)."""
    test_pairs_file: File | None = Runtime(None)
    """A published list (from,to) instead of a random sample; identified by its content."""
    seed: Seed = 0


def _usual_features(values: dict[str, Any]) -> Literal["vgg19", "vgg19+rgb"]:
    return "vgg19+rgb" if (values.get("fidelity"), values.get("system")) == ("modern", "full") else "vgg19"


class GanConfig(Section):
    """The paper's generator and how it is trained (Sec. 3 to 5)."""

    system: Literal["baseline", "dsc", "percloss", "full"] = "full"
    """Which of the paper's four systems (Sec. 6.3). With gan.start, system, fidelity and width are the file's; only
    a multiple of its width may be given."""
    fidelity: Literal["paper", "released", "modern"] = "modern"
    """Whose reading of the method: the paper's, its released code's, or that code with its known defects fixed
    (docs/fidelity.md)."""
    width: float = Field(1.0, gt=0, le=1)
    """Scales every layer's channels; 1 is the paper's."""
    neighbourhood: Annotated[int, Field(ge=1, le=31), AfterValidator(odd)] | None = None
    """N(p) of Eq. 7, odd; None: 3 at 128x64, 5 at 256x256 (Sec. 4)."""
    features: Literal["vgg19", "vgg19+rgb", "patches"] = Field(default_factory=_usual_features)
    """What Eq. 7 compares. "+rgb": colours count too, which keeps a grid out of short trainings. "patches": raw 5x5, no
    weights. Where not given: "vgg19+rgb" for the modern preset's Full, else "vgg19"."""
    vgg_weights: File | None = Runtime(None)
    """A file (its hash counts, not its name); None: torchvision's, downloaded."""
    vgg_preprocessing: Literal["auto", "caffe", "torchvision"] = "auto"
    """What the file's weights were trained with."""
    image_size: tuple[Edge, Edge] | None = None
    """Height, width; None: the most common image size, or 128x64 where the networks cannot take it."""
    start: File | None = Runtime(None)
    """Weights to begin with: a shipped name, a weights file, or a run's folder (the content counts, not the name). With
    a multiple of its width the generator is widened: at first it makes almost the same images."""
    iterations: int = Field(90_000, ge=0, le=10**9)
    """With 0, gan.start is used as it is."""
    decay_iterations: int = Field(0, ge=0, le=10**9)
    """Number of final iterations over which the learning rate falls linearly to 0 (PATN)."""
    batch_size: Batch = 4
    """Of all processes together."""
    learning_rate: float = Field(2e-4, gt=0, le=1)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Exponential average of the weights, beside the raw ones."""
    same_camera_pairs: float | None = Field(None, ge=0, le=1)
    """Share of the training pairs whose images are of one camera; None: as they come (Market-1501: .22)."""
    self_pairs: float = Field(0, ge=0, le=1)
    """Share of the training pairs that are of an image and itself, moved by a random affine map: what can be seen is
    then copied rather than guessed (docs/results.md, "Identity kept")."""
    seed: Seed = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    """With fp32, cuDNN's convolutions use TF32 on GPUs that support it."""
    checkpoint_every: Count = 5000
    """At width 1 and 128x64: 0.5 GB of weights each, and one training state of 1 GB, that of the last."""
    keep_checkpoints: int = Field(3, ge=0, le=10**6)
    """Number of further checkpoints that are kept, beside the last and the best."""
    sample_every: Count = Runtime(500)
    log_every: Count = Runtime(50)
    compile: Literal["auto", False, "graph", "full"] = Runtime("auto")
    """On CUDA. "graph": an iteration is replayed as one CUDA graph (of one process); "full": both networks go through
    torch.compile as well; "auto": "graph", or nothing where none can be captured."""
    device: str = Runtime("auto")

    @model_validator(mode="after")
    def _decay_fits(self) -> "GanConfig":
        if self.decay_iterations > self.iterations:
            raise ValueError(f"decay_iterations is {self.decay_iterations}, more than all {self.iterations} iterations")
        return self


class FilterConfig(Section):
    """Which generated images re-ID trains on: those above every threshold, and of them the best share.

    With all at None every image is kept. No image is generated again when this changes.
    """

    similarity: float | None = Field(None, ge=-1, le=1)
    """Minimum cosine similarity of the image's features to its source's."""
    margin: float | None = Field(None, ge=-2, le=2)
    """Minimum of the cosine similarity to the nearest training image of the same person minus that to the nearest of
    another; with 0 the nearest training image is of the same person."""
    pose: float | None = Field(None, ge=0, le=1)
    """Minimum PCK@0.1 against the target pose, by the pose estimator of the package."""
    person: float | None = Field(None, ge=0, le=1)
    """Minimum of the estimator's mean confidence over all joints."""
    sharpness: float | None = Field(None, ge=0)
    """Minimum ratio of the variance of the Laplacian to the source's."""
    share: float | None = Field(None, gt=0, le=1)
    """Share of the remaining images of each source to keep, rounded up."""
    by: Literal["similarity", "margin", "pose", "person", "sharpness"] = "similarity"
    """The score that ranks them."""
    judge: Location | None = Runtime(None)
    """Weights of the re-ID network for similarity and margin (their content counts): trained on the same training
    images (a run's reid/real-s0.safetensors) or on another data set, never on people that are tested."""
    judge_model: str = "osnet_x0_25"
    judge_size: tuple[Edge, Edge] = (256, 128)
    """Height and width that it was trained at."""

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores that are needed."""
        names = ("similarity", "margin", "pose", "person", "sharpness")
        return tuple(name for name in names if getattr(self, name) is not None or (self.share and name == self.by))


class SynthesisConfig(Section):
    """Ten target poses for every training image (App. C)."""

    poses_per_image: int = Field(10, ge=1, le=10)
    """At most ten: the rank is a digit of the file name."""
    own_pose: bool = False
    """Generate every source in its own pose as well: not kept, for the re-ID arm own_pose."""
    weights: Literal["average", "raw"] = "average"
    jpeg_quality: int = Field(95, ge=1, le=100)
    filter: FilterConfig = FilterConfig()
    """Which of them are used."""
    seed: Seed = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    """As for gan."""
    batch_size: Literal["auto"] | Batch = "auto"
    """A change reruns the stage: kernels may round differently at another size, as on another device. "auto": 32, on
    CUDA 256."""
    compile: bool = Runtime(False)
    """On CUDA: use torch.compile."""
    format: Literal["files", "webdataset", "parquet"] = Runtime("files")
    """How new images are stored: a JPEG file each, or a thousand in a tar or parquet file."""
    device: str = Runtime("auto")


class QualityConfig(Section):
    """Metrics of the generated images (Sec. 6, Metrics)."""

    pairs: Count = 12_000
    """Number of test pairs, evenly spaced in their list."""
    generators: tuple[File, ...] = Runtime(())
    """Further generators in the same table: shipped names, weights files, folders of runs, or folders of images that
    other programs made, FROM__TO.png; identified by name and content."""
    identity_weights: Location | None = Runtime(None)
    """OSNet x0.25 trained on another data set: identity kept, distances of its features. None: not measured.
    Files are identified by their content; `augment doctor` lists where each is published."""
    vgg_weights: Location | None = Runtime(None)
    """VGG-19: distances of its features."""
    inception_weights: Location | None = Runtime(None)
    """The Inception network of 2015: FID, KID, Inception Score."""
    lpips_weights: Location | None = Runtime(None)
    """AlexNet: LPIPS."""
    detector_weights: Location | None = Runtime(None)
    """SSD300: Detection Score."""
    pose_checkpoint: Literal["crops"] | None = Runtime(None)
    """PCK by the pose estimator that comes with the package; it runs openpifpaf (AGPL-3.0)."""
    batch_size: Batch = 32
    """A change reruns the stage: kernels may round differently at another size."""
    device: str = Runtime("auto")


Loss = Literal["softmax", "triplet", "verification"]
Transform = Literal["random_flip", "random_crop", "color_jitter", "random_erase"]


class ArmConfig(Section):
    """The settings of an arm of the comparison. None: as in the ready-made arm of that name, else as in the section.

    From iteration ``start`` to ``until`` (shares of all iterations) a batch has ``real`` and ``synthetic`` images,
    before and after that ``alone`` real images.
    """

    real: int | None = Field(None, ge=0, le=2**16)
    synthetic: int | None = Field(None, ge=0, le=2**16)
    images: Literal["synthetic", "own_pose", "copied", "more_real", "shuffled"] | None = None
    """The synthetic part: images in new poses; in the source's own pose (synthesis.own_pose); blurred and shifted
    copies; images of the same people that data.subset left out; new poses under shuffled identities."""
    start: float | None = Field(None, ge=0, le=1)
    until: float | None = Field(None, ge=0, le=1)
    alone: int | None = Field(None, ge=2, le=2**16)
    """None: as many as real and synthetic images together."""
    poses: Literal["any", "other_camera", "missing_view", "nearer"] | None = None
    """Which images in new poses: all; poses from another camera than the source; views (front, back, profile) of which
    the person has no image; of each source the half with poses nearest to its own."""
    label: Literal["hard", "smooth", "uniform", "teacher", "own", "positive"] | None = None
    """Target of a synthetic image. uniform: LSRO's; teacher: the output of the same network trained on the real images
    alone; own: each person's synthetic images are a further class; positive: with the triplet loss, only as positives
    of real anchors."""
    weight: float | None = Field(None, ge=0, le=1000)
    """Of a synthetic image's loss, relative to 1 for a real image."""
    own_pass: bool | None = None
    """A separate forward pass for synthetic images, with batch statistics of their own."""
    loss: Loss | None = None
    transforms: tuple[Transform, ...] | None = None
    iterations: int | None = Field(None, ge=1, le=10**6)
    against: str | None = Runtime(None)
    """The arm that this one is compared with; None: the first."""


class ReidConfig(Section):
    """Re-ID accuracy with and without the synthetic images (App. C, Tab. 4)."""

    model: str = "resnet50"
    """Any model of torchreid's."""
    start: File | None = Runtime(None)
    """A file of initial weights, trained on any identities; only its content counts."""
    loss: Loss = "softmax"
    """verification: softmax and the verification of pairs, the discriminative embedding of Tab. 4."""
    pretrained: bool = False
    """ImageNet weights, downloaded by torchreid."""
    height: int = Field(256, ge=32, le=1024)
    width: int = Field(128, ge=16, le=1024)
    iterations: int = Field(24_000, ge=1, le=10**6)
    """The same for every arm that does not set its own: more images must not mean more training."""
    lengths: tuple[Annotated[int, Field(ge=1, le=10**6)], ...] = ()
    """Further numbers of iterations at which every arm is trained, and compared with its reference of the same length:
    does a gain outlast a longer training?"""
    batch_size: int = Field(32, ge=4, le=2**16)
    """Real and synthetic images together; the arms define the shares."""
    instances: int = Field(4, ge=2, le=2**16)
    """Triplet and verification loss: images per person in a batch."""
    learning_rate: float = Field(3e-4, gt=0, le=10)
    """Cosine schedule to zero."""
    weight_decay: float = Field(5e-4, ge=0, le=10)
    """Of Adam; this and the next three are torchreid's defaults."""
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Of the softmax loss."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of training and of the features."""
    transforms: tuple[Transform, ...] = ("random_flip", "random_crop")
    distances: tuple[Literal["euclidean", "cosine", "xqda", "kissme", "reranked"], ...] = Field(
        ("cosine",), min_length=1
    )
    arms: dict[str, ArmConfig] = Field({"real": ArmConfig(), "augmented": ArmConfig()}, min_length=1)
    """Name -> settings. The first arm is the reference. A list of names: ready-made arms."""
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1, max_length=1000)
    device: str = Runtime("auto")
    threads: int | None = Runtime(None, ge=1, le=1024)
    """Of each training on the CPU; None: one per core. With flow.workers above 1, set it to cores / workers. Another
    number rounds differently, as another device does."""

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_by_name(cls, arms: Any) -> Any:
        if isinstance(arms, list | tuple):
            return {name: {} for name in arms}
        return {name: {} if arm is None else arm for name, arm in arms.items()} if isinstance(arms, dict) else arms

    @field_validator("arms")
    @classmethod
    def _arm_names(cls, arms: dict[str, ArmConfig]) -> dict[str, ArmConfig]:
        for name in arms:
            if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", name):  # it becomes a part of file names
                raise ValueError(f"'{name}' cannot name an arm: up to 40 letters, digits and _")
            if arms[name].against not in (None, *arms):
                raise ValueError(f"{name}.against: there is no arm '{arms[name].against}'")
        return arms


class ReportConfig(Section):
    """The HTML page."""

    examples: int = Field(12, ge=1, le=10_000)
    """Rows in each grid of images."""


class FlowConfig(Section):
    """How Prefect runs the stages. None of these settings changes a result."""

    runner: Literal["threads", "dask", "ray"] = Runtime("threads")
    address: str | None = Runtime(None)
    """Address of a running Dask or Ray cluster; None: start a local cluster."""
    cluster: dict[str, Any] = Runtime({})
    """With Dask: ``class`` of the cluster to start and its arguments (configs/runner); empty: processes of this
    machine."""
    workers: int = Runtime(1, ge=1, le=10_000)
    """Number of shards in parallel."""
    shard_size: Literal["auto"] | Count = Runtime("auto")
    """Images per shard: a killed worker loses at most one shard. "auto": about ten seconds of work, generated images by
    the thousand."""
    notify: str | None = Runtime(None)
    """A command for runs that failed, crashed or were cancelled; called with a message as an additional argument."""


class Config(Section):
    """The configuration of a run: a section for each stage, and the output folder."""

    name: str = "run"
    """Of the run, and of its folder where output names none."""
    output: Location | None = Runtime(None)
    """The folder of the run, or its address (s3://bucket/folder); None: outputs/NAME."""
    data: DataConfig = DataConfig()
    pose: PoseConfig = PoseConfig()
    pairs: PairsConfig = PairsConfig()
    gan: GanConfig = GanConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    quality: QualityConfig = QualityConfig()
    reid: ReidConfig = ReidConfig()
    report: ReportConfig = ReportConfig()
    flow: FlowConfig = FlowConfig()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if name in ("", ".", "..") or len(name.encode()) > 100 or not name.isprintable() or set(name) & set("/\\~?"):
            raise ValueError("a name has up to 100 letters, digits and signs, without / \\ ~ ?: it becomes a folder")
        return name

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return self.output or Path("outputs") / self.name
