"""Which two images of a person make a training or a test pair (Sec. 6: all ordered pairs of one identity)."""

from pathlib import Path

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.files import sha256_file
from augment.base.progress import say
from augment.config import PairsConfig, environment_path
from augment.data.layouts import DEEPFASHION_EXAMPLE, DISTRACTOR, MARKET_EXAMPLE, parse_name
from augment.manifest import Manifest, write_manifest
from augment.pose.skeleton import TORSO
from augment.stage import finished, provenance


def mine_pairs(poses: pd.DataFrame) -> pd.DataFrame:
    """All ordered pairs of two images of one identity: columns ``from``, ``to``.

    ``poses`` is a poses table with its identities (columns ``id``, ``pid``, ``accepted``) or what
    ``read_posegan_csv`` returns (``name``, ``x``, ``y``: 18 floats a row, NaN where missing). Of the latter, identity
    comes from the name and the released code's filter applies: both shoulders and both hips are there, and the name is
    neither junk (-1) nor a distractor (0000). ``from`` and ``to`` hold ids in the first case, file names in the second.

    Rows come in the released code's order: identities by first appearance, then images as they stand in ``poses``.
    Raises :class:`AugmentError` naming a missing column or a name that tells no identity.
    """
    names, pids, accepted = _candidates(poses)
    keep = accepted & (pids > DISTRACTOR)
    names, pids = names[keep], pids[keep]

    groups = pd.factorize(pids)[0]
    order = np.argsort(groups, kind="stable")
    names = names.take(order)
    sizes = np.bincount(groups)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)  # of every image: where its identity begins
    partners = np.repeat(sizes - 1, sizes)  # and how many others that identity has
    source = np.repeat(np.arange(len(names)), partners)
    target = np.arange(len(source)) - np.repeat(np.cumsum(partners) - partners, partners) + first[source]
    target += target >= source  # nobody is paired with itself
    return pd.DataFrame({"from": names.take(source), "to": names.take(target)})


def _candidates(poses: pd.DataFrame) -> tuple[pd.api.extensions.ExtensionArray, np.ndarray, np.ndarray]:
    """Names, identities, and whether the pose is good enough."""
    column = "id" if "id" in poses else "name"
    if column not in poses:
        raise AugmentError(f"poses: neither a column 'id' nor 'name'; there are {', '.join(map(str, poses.columns))}.")
    names = poses[column].astype("str").array
    if "pid" in poses:
        pids = poses["pid"].to_numpy()
    else:
        pids = np.array([_pid(name, row) for row, name in enumerate(names)], dtype=np.int64)
    if "accepted" in poses:
        return names, pids, poses["accepted"].to_numpy(dtype=bool)
    for axis in ("x", "y"):
        if axis not in poses:
            raise AugmentError(f"poses: no column '{axis}' (18 numbers a row), and no column 'accepted' either.")
    if not len(poses):
        return names, pids, np.zeros(0, dtype=bool)
    torso = [np.array(poses[axis].tolist(), dtype=float)[:, TORSO] for axis in ("x", "y")]
    return names, pids, ~np.isnan(torso).any(axis=(0, 2))


def _pid(name: object, row: int) -> int:
    base = str(name).rpartition("/")[2]
    parsed = parse_name(base) or parse_name(base + ".jpg")  # an image id is the name without its ending
    if parsed is None:
        raise AugmentError(
            f"poses, row {row}: {name!r} tells no identity. Names are like {MARKET_EXAMPLE} or {DEEPFASHION_EXAMPLE}."
        )
    return parsed.pid


def sample_test_pairs(pairs: pd.DataFrame, count: int = 12_000, seed: int = 0) -> pd.DataFrame:
    """``count`` random rows of ``pairs``, drawn as in the released code; all of them where there are fewer.

    The draw depends on the order of the rows. From the published annotations of the test part, in their own order,
    it gives the 12,000 published pairs, in the published order.
    """
    if len(pairs) <= count:
        if len(pairs) < count:
            say(f"pairs: {count} test pairs were asked for; there are {len(pairs)}, and all are taken.")
        return pairs.reset_index(drop=True)
    return pairs.sample(n=count, random_state=seed, replace=False).reset_index(drop=True)


def make_pairs(section: PairsConfig, images: Manifest, poses: Manifest, folder: Path) -> Manifest:
    """All training pairs and the test pairs. Returns the table of pairs (``from``, ``to`` are image ids).

    Training pairs come from the training images with an accepted pose, test pairs from the others. Raises
    :class:`AugmentError` where there is no training pair, or where an identity stands on both sides.
    """
    inputs: dict[str, Manifest | str] = {"images": images, "poses": poses}
    published = None
    if section.test_pairs_file is not None:
        published = find_published(section.test_pairs_file, images)
        inputs["test_pairs_file"] = sha256_file(published)
    origin = provenance("pairs", 1, section, inputs)
    path = Path(folder) / "pairs.parquet"
    if (done := finished(path, origin)) is not None:
        return done

    known = images.frame()[["id", "pid", "split", "path"]]
    candidates = poses.frame()[["id", "accepted"]].merge(known, on="id", validate="one_to_one")
    of_train = candidates["split"] == "train"
    check_disjoint(candidates["pid"][of_train], candidates["pid"][~of_train])
    train = mine_pairs(candidates[of_train])
    if train.empty:
        raise AugmentError(
            f"{poses.path}: no two training images of one person have an accepted pose ({of_train.sum()} poses, "
            f"{candidates['accepted'][of_train].sum()} accepted), so there is nothing to train on."
        )
    if published is None:
        test = sample_test_pairs(mine_pairs(candidates[~of_train]), section.test_pairs, section.seed)
    else:
        test = read_published(published, candidates[~of_train]).head(section.test_pairs)
    say(f"pairs: {len(train)} for training, {len(test)} for testing.")
    return write_manifest(path, "pairs", pd.concat([train.assign(split="train"), test.assign(split="test")]), origin)


def check_disjoint(train_pids: pd.Series, test_pids: pd.Series) -> None:
    """Raise :class:`AugmentError` where a person stands on both sides: the test would be no test."""
    both = sorted(pid for pid in set(train_pids) & set(test_pids) if pid > DISTRACTOR)
    if both:
        shown = ", ".join(f"{pid:04d}" for pid in both[:5])
        raise AugmentError(
            f"{len(both)} identities stand in the training part and in the test part: {shown}. Move each to one side."
        )


def find_published(name: str, images: Manifest) -> Path:
    """A published list: as given, else in $MARKET1501_ANNOTATIONS, else beside the images' folder or its parent."""
    places = [Path(name)]
    if (annotations := environment_path("MARKET1501_ANNOTATIONS")) is not None:
        places.append(annotations / name)
    root = images.file_of(images.table["path"][0].as_py()).parent.parent
    places += [root / name, root.parent / name]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place.resolve()) for place in places)
    raise AugmentError(f"{name}: not found. Looked for {looked}. Set MARKET1501_ANNOTATIONS to its folder.")


def read_published(file: Path, candidates: pd.DataFrame) -> pd.DataFrame:
    """A list of file names (columns ``from``, ``to``) -> those of its pairs with accepted poses, as image ids."""
    try:
        listed = pd.read_csv(file, dtype=str)
    except (OSError, ValueError) as error:
        raise AugmentError(f"{file}: cannot be read as a list of pairs: {error}") from None
    for column in ("from", "to"):
        if column not in listed:
            raise AugmentError(f"{file}: no column '{column}'; its first line must be 'from,to'.")
    accepted = candidates[candidates["accepted"]]
    ids = dict(zip(accepted["path"].str.rpartition("/")[2], accepted["id"], strict=True))
    pairs = pd.DataFrame({end: listed[end].map(ids) for end in ("from", "to")}).dropna()
    if pairs.empty:
        raise AugmentError(f"{file}: of its {len(listed)} pairs none has both images with an accepted pose here.")
    if len(pairs) < len(listed):
        say(f"pairs: {len(pairs)} of the {len(listed)} pairs in {file.name} have both images with an accepted pose.")
    return pairs
