"""Shards in the workers of a Dask or Ray cluster: what that costs beside plain processes.

    python benchmarks/clusters.py --rows 200000 --folder /tmp/clusters

The stage is ``images`` of hard links to small JPEGs, in a pool of four processes and in a flow on a cluster of
four: the time that passed, that of the stage without the start of server, cluster and flow, and whether both tables
have the same bytes.
"""

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml
from million_rows import configuration, prepare

from augment.pipeline.stages import run_stage, stage_named

PROCESSES = 4
RUN = """
import sys
from augment.cli import main
arguments, sys.argv = sys.argv[1:], ["augment", "images", "config.yaml"]  # the command that the table records
main(arguments)
"""


def run(folder: Path, output: str, *settings: str) -> subprocess.CompletedProcess:
    """``augment images`` with its output in a folder of its own."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(folder).model_dump(mode="json", exclude_unset=True)))
    arguments = ["images", str(config), "--set", f"output={folder / output}"]
    for setting in settings:
        arguments += ["--set", setting]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], stderr=subprocess.PIPE, text=True)


def stage_seconds(folder: Path, output: str) -> float:
    """Of the stage alone, without the start of server, cluster and flow."""
    return json.loads((folder / output / "timings.json").read_text())["images"]["seconds"]


def in_a_pool(folder: Path, shard_size: int) -> None:
    config = configuration(folder)
    flow = config.flow.model_copy(update={"shard_size": shard_size})
    config = config.model_copy(update={"output": folder / "pool", "flow": flow})
    sys.argv = ["augment", "images", "config.yaml"]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        run_stage(stage_named("images"), config, pool.imap_unordered)
        pool.close()
        pool.join()


def overhead(folder: Path, rows: int, shard_size: int, runner: str) -> None:
    for name in ("pool", runner):
        shutil.rmtree(folder / name, ignore_errors=True)
        command = [sys.executable, __file__, "--rows", str(rows), "--shard-size", str(shard_size),
                   "--folder", folder.parent, "--part", name]  # fmt: skip
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{name:>6}: {time.monotonic() - start:7.1f} s passed, {stage_seconds(folder, name):7.1f} s of them the "
              "stage's", flush=True)  # fmt: skip
    print(f"overhead: {stage_seconds(folder, runner) / stage_seconds(folder, 'pool') - 1:.1%} of the stage's time; "
          f"tables {'of the same bytes' if same(folder, 'pool', runner) else 'DIFFER'}")  # fmt: skip


def same(folder: Path, *outputs: str) -> bool:
    return len({(folder / output / "images" / "images.parquet").read_bytes() for output in outputs}) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shard-size", type=int, default=1000)
    parser.add_argument("--runner", choices=["dask", "ray"], default="dask")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.absolute() / str(options.rows)
    prepare(folder, options.rows)
    if options.part is None:
        overhead(folder, options.rows, options.shard_size, options.runner)
    elif options.part == "pool":
        in_a_pool(folder, options.shard_size)
    else:
        settings = [f"flow.runner={options.part}", f"flow.workers={PROCESSES}", f"flow.shard_size={options.shard_size}"]
        run(folder, options.part, *settings).check_returncode()


if __name__ == "__main__":
    main()
