"""Object storage: ``s3://``, ``gs://`` and whatever else fsspec knows, worked on through local copies.

An address has one local path, below the cache folder (:mod:`addresses`). What is written under such a path is
written to the storage first (:mod:`copies`), so that the storage is the truth and a copy can be dropped at any time;
what is read there is fetched. All other code knows paths only.
"""
