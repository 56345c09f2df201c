"""Listing and fetching of many small objects from a real S3 server on this machine, with a delay before each answer as
between a worker and its bucket: one after the other, and as augment does it.

    python benchmarks/object_storage.py --objects 3000 --delay-ms 20
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/storage"))

from s3_server import KEY, SECRET, FaultyProxy, S3Server

from augment.base.storage import copies, objects
from augment.base.storage.addresses import copy_of


def serve(server_port: int, port, seen, delay_s) -> None:
    """The proxy, in a process of its own: its work is not ours."""
    proxy = FaultyProxy(server_port, faults=0)

    def wait(number: int) -> None:
        seen.value = number
        time.sleep(delay_s.value)

    proxy.on_request = wait
    port.value = proxy.port
    time.sleep(3600)


def measure(title: str, seen, count: int, work) -> None:
    """Print time, requests and rate."""
    asked, start, busy = seen.value, time.monotonic(), time.process_time()
    work()
    seconds, busy, asked = time.monotonic() - start, time.process_time() - busy, seen.value - asked
    print(f"{title:28} {count / seconds:8.0f}/s {asked:6} requests {1000 * busy / count:6.2f} ms of a processor each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=3000)
    parser.add_argument("--delay-ms", type=float, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder, "weed"))
        server.start()
        port, seen, delay_s = (multiprocessing.Value(kind, 0) for kind in "iid")
        proxy = multiprocessing.Process(target=serve, args=(server.port, port, seen, delay_s), daemon=True)
        proxy.start()
        while not port.value:
            time.sleep(0.1)
        os.environ |= {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port.value}", "AUGMENT_CACHE": f"{folder}/cache",
        }  # fmt: skip
        fs, _ = objects._fs("s3://lab")
        fs.mkdir("lab")
        names = [f"{number:06d}_c1s1_000001_00.jpg" for number in range(0, 1_000_000, 1_000_000 // asked.objects)]
        with objects.ThreadPoolExecutor(objects.AT_ONCE) as pool:
            list(pool.map(lambda name: objects.write(f"s3://lab/set/{name}", os.urandom(4000)), names))
        delay_s.value = asked.delay_ms / 1000
        files, some = [copy_of(f"s3://lab/set/{name}") for name in names], 100
        print(f"{len(names)} objects of 4 kB, {asked.delay_ms:g} ms before each answer")
        objects._PAGE = 10  # names in an answer, so that thousands are as many answers as millions are of 1,000
        for title, in_turn in (("listed page by page", len(names)), ("listed by ranges of names", 20)):
            objects._PAGES_IN_TURN = in_turn
            measure(title, seen, len(names), lambda: objects.listing("s3://lab/set"))
        measure("fetched one by one", seen, some, lambda: [copies.fetch(file) for file in files[:some]])
        measure("fetched 32 at a time", seen, len(files) - some, lambda: copies.fetch_all(files[some:]))
        objects._PAGE = 1000
        copies.sizes(files[0].parent)
        measure("read again from the copies", seen, len(files), lambda: copies.fetch_all(files))
        proxy.kill()
        server.kill()


if __name__ == "__main__":
    main()
