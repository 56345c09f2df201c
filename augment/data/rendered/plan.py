"""Which images the rendered demo set has, by name: known before any is rendered."""

from typing import NamedTuple

from augment.config import RenderedConfig


class Item(NamedTuple):
    """An image to render."""

    split: str
    pid: int  # as in the name: 0 for a distractor
    person: int  # whose figure it shows
    camera: int
    index: int  # which image of the person

    @property
    def name(self) -> str:
        """File name in Market-1501's form; the last number is 00 in queries, as there."""
        box = 0 if self.split == "query" else 1 + self.index % 9
        frame = 25 * (self.index + 1) + 1000 * (self.person % 900)
        return f"{self.pid:04d}_c{self.camera}s1_{frame:06d}_{box:02d}.jpg"


def plan(section: RenderedConfig) -> list[Item]:
    """All images of the set, in order of split and name.

    A person's images go round the cameras. Of a test person the first image of each camera is a query, as in
    Market-1501, but never more than half of the images; the others are the gallery, with one distractor for ten.
    """
    items = []
    people = section.train_identities + section.test_identities
    for pid in range(1, people + 1):
        for index in range(section.images_per_identity):
            camera = 1 + (pid + index) % section.cameras
            query = index < min(section.cameras, section.images_per_identity // 2)
            split = "train" if pid <= section.train_identities else "query" if query else "gallery"
            items.append(Item(split, pid, pid, camera, index))
    gallery = sum(item.split == "gallery" for item in items)
    for extra in range(max(1, gallery // 10)):
        items.append(Item("gallery", 0, people + 1 + extra, 1 + extra % section.cameras, extra))
    return sorted(items, key=lambda item: (item.split, item.name))
