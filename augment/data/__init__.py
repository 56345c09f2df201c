"""Where images and identities come from."""

from augment.data.layouts import parse_name
from augment.data.rendered import render_set
from augment.data.scan import dataset_root, scan_images

__all__ = ["dataset_root", "parse_name", "render_set", "scan_images"]
