"""All ordered pairs of an identity (Sec. 6), and the sample of test pairs."""

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.data.layouts import DEEPFASHION_EXAMPLE, DISTRACTOR, MARKET_EXAMPLE, parse_name
from augment.pose.skeleton import TORSO

#: Of a person with more images, each image is paired with a random sample of so many others. No person of Market-1501
#: or DeepFashion has as many; 5,000 images of a person would be 25 million pairs.
PARTNERS = 200


def mine_pairs(poses: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """All ordered pairs of images of the same identity: columns ``from``, ``to``.

    ``poses`` is a poses table with its identities (columns ``id``, ``pid``, ``accepted``) or what
    ``read_posegan_csv`` returns (``name``, ``x``, ``y``: 18 floats a row, NaN where missing). Of the latter, identity
    comes from the name and the released code's filter applies: both shoulders and both hips are there, and the name is
    neither junk (-1) nor a distractor (0000). ``from`` and ``to`` hold ids in the first case, file names in the second.

    Rows are in the released code's order: identities by first appearance, then images in the order of ``poses``.
    ``seed``: of the sample where an image has more than :data:`PARTNERS`. Raises :class:`AugmentError` naming a missing
    column or a name without an identity.
    """
    names, pids, accepted = _candidates(poses)
    source, target = mine_positions(pids, accepted, seed)
    return pd.DataFrame({"from": names.take(source), "to": names.take(target)})


def mine_positions(pids: np.ndarray, accepted: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`mine_pairs`, of images that are numbered: sources and targets (P,), int32."""
    kept = np.flatnonzero(accepted & (pids > DISTRACTOR))
    groups, people = pd.factorize(pids[kept])
    images = kept[np.argsort(groups, kind="stable")].astype(np.int32)  # person by person
    sizes = np.bincount(groups)
    begin = np.cumsum(sizes) - sizes
    partners = np.minimum(sizes - 1, PARTNERS)
    of_source = np.arange(partners @ sizes, dtype=np.int32)  # which of a source's partners: 0, 1, 2, ...
    each = np.repeat(partners, sizes)
    of_source -= np.repeat((np.cumsum(each) - each).astype(np.int32), each)
    source = np.repeat(np.arange(len(images), dtype=np.int32), each)
    pairs_before = np.cumsum(partners * sizes) - partners * sizes
    for person in np.flatnonzero(sizes - 1 > PARTNERS):
        rng = np.random.default_rng([seed, int(people[person])])
        drawn = [np.sort(rng.choice(sizes[person] - 1, PARTNERS, replace=False)) for _ in range(sizes[person])]
        of_source[pairs_before[person] :][: PARTNERS * sizes[person]] = np.concatenate(drawn)
    target = of_source + np.repeat(begin, sizes).astype(np.int32)[source]
    target += target >= source  # no image is paired with itself
    return images[source], images[target]


def _candidates(poses: pd.DataFrame) -> tuple[pd.api.extensions.ExtensionArray, np.ndarray, np.ndarray]:
    """Names, identities, and whether the pose is accepted."""
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
            f"poses, row {row}: {name!r} has no identity. Names are like {MARKET_EXAMPLE} or {DEEPFASHION_EXAMPLE}."
        )
    return parsed.pid


def sample_test_pairs(pairs: pd.DataFrame, count: int = 12_000, seed: int = 0) -> pd.DataFrame:
    """A random sample of ``count`` rows of ``pairs``, as in the released code; all where there are fewer.

    It depends on the order of the rows: from the published annotations of the test part, in their own order, it is the
    12,000 published pairs, in the published order.
    """
    if len(pairs) <= count:
        if len(pairs) < count:
            say(f"pairs: pairs.test_pairs is {count}, but there are only {len(pairs)}: all are used.")
        return pairs.reset_index(drop=True)
    return pairs.sample(n=count, random_state=seed, replace=False).reset_index(drop=True)
