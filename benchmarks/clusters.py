"""Shards in the workers of a Dask or Ray cluster: what that costs beside plain processes.

    python benchmarks/clusters.py --rows 200000 --folder /tmp/clusters
    python benchmarks/clusters.py --rows 700 --stage synthetic --folder /tmp/clusters

The data set is hard links to small JPEGs. A stage, with those that it needs, in a pool of four processes and in a flow
on a cluster of four: the time that passed, that of the stage alone, without the start of server, cluster and flow, and
whether both tables have the same bytes.
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

from augment.pipeline.stages import run_stage, stage_named, stages_until
from augment.stage import ShardSize

PROCESSES = 4
RUN = """
import sys
from augment.cli import main
arguments, sys.argv = sys.argv[1:], ["augment", "images", "config.yaml"]  # the command that the table records
main(arguments)
"""


def run(folder: Path, output: str, *settings: str, stage: str = "images") -> subprocess.CompletedProcess:
    """``augment STAGE`` with its output in a folder of its own."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(folder).model_dump(mode="json", exclude_unset=True)))
    arguments = [{"synthetic": "synthesize"}.get(stage, stage), str(config), "--set", f"output={folder / output}"]
    for setting in settings:
        arguments += ["--set", setting]
    return subprocess.run([sys.executable, "-c", RUN, *arguments], stderr=subprocess.PIPE, text=True)


def stage_seconds(folder: Path, output: str, stage: str) -> float:
    """Of the stage alone, without the start of server, cluster and flow."""
    return json.loads((folder / output / "timings.json").read_text())[stage]["seconds"]


def in_a_pool(folder: Path, shard_size: ShardSize, until: str) -> None:
    config = configuration(folder)
    flow = config.flow.model_copy(update={"shard_size": shard_size})
    config = config.model_copy(update={"output": folder / "pool", "flow": flow})
    sys.argv = ["augment", "images", "config.yaml"]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for stage in stages_until(until):
            run_stage(stage, config, pool.imap_unordered)
        pool.close()
        pool.join()


def overhead(folder: Path, rows: int, shard_size: ShardSize, runner: str, stage: str) -> None:
    seconds = {}
    for name in ("pool", runner):
        shutil.rmtree(folder / name, ignore_errors=True)
        command = [sys.executable, __file__, "--rows", str(rows), "--shard-size", str(shard_size), "--stage", stage,
                   "--folder", folder.parent, "--part", name]  # fmt: skip
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds[name] = stage_seconds(folder, name, stage)
        print(f"{name:>6}: {time.monotonic() - start:7.1f} s passed, {seconds[name]:7.1f} s of them the stage's",
              flush=True)  # fmt: skip
    print(f"overhead: {seconds[runner] / seconds['pool'] - 1:.1%} of the stage's time; tables "
          + ("of the same bytes" if same(folder, "pool", runner, stage=stage) else "DIFFER"))  # fmt: skip


def same(folder: Path, *outputs: str, stage: str = "images") -> bool:
    return len({stage_named(stage).path(folder / output).read_bytes() for output in outputs}) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--stage", default="images")
    parser.add_argument("--shard-size", type=lambda text: text if text == "auto" else int(text), default="auto")
    parser.add_argument("--runner", choices=["dask", "ray"], default="dask")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.absolute() / str(options.rows)
    prepare(folder, options.rows)
    if options.part is None:
        overhead(folder, options.rows, options.shard_size, options.runner, options.stage)
    elif options.part == "pool":
        in_a_pool(folder, options.shard_size, options.stage)
    else:
        settings = [f"flow.runner={options.part}", f"flow.workers={PROCESSES}", f"flow.shard_size={options.shard_size}"]
        run(folder, options.part, *settings, stage=options.stage).check_returncode()


if __name__ == "__main__":
    main()
