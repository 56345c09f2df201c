"""One hundred users at once against a live server."""

import asyncio
import os
import time

import httpx
import numpy as np

from augment.manifest import read_manifest
from augment.study.results import read_results

USERS = 100
PAUSE_S = (0.3, 1.0)  # between two answers; a person takes 1.4 s at the least


async def play(client: httpx.AsyncClient, seed: int, latencies: list[float]) -> tuple[str, list[bool]]:
    """A round of one user who answers at random; returns what was confirmed."""
    rng = np.random.default_rng(seed)
    await asyncio.sleep(rng.uniform(0, PAUSE_S[1]))
    user = (await client.post("users")).json()["user"]
    order = (await client.get(f"users/{user}")).json()["order"]
    confirmed = []
    for place in range(len(order)):
        await asyncio.sleep(rng.uniform(*PAUSE_S))
        answer = {"place": place, "said_generated": bool(rng.integers(2)), "shown_ms": 1000, "reaction_ms": 500}
        start = time.perf_counter()
        reply = await client.post(f"users/{user}/answers", json=answer)
        latencies.append(time.perf_counter() - start)
        assert reply.status_code == 200 and reply.json()["place"] == place + 1
        confirmed.append(answer["said_generated"])
    return user, confirmed


async def play_all(address: str, latencies: list[float]) -> dict[str, list[bool]]:
    limits = httpx.Limits(max_connections=USERS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=30, trust_env=False) as client:
        return dict(await asyncio.gather(*(play(client, seed, latencies) for seed in range(USERS))))


def test_a_hundred_users_at_once_lose_no_answer(make_study, served):
    folder = make_study(images=5, training=1)
    latencies: list[float] = []
    with served(folder) as address:
        confirmed = asyncio.run(play_all(address, latencies))
    table = read_manifest(folder / "answers.parquet", "answers").frame()
    assert len(confirmed) == USERS and len(table) == USERS * 12
    assert {user: rows["said_generated"].tolist() for user, rows in table.groupby("user")} == confirmed
    assert read_results(folder).users == USERS
    median, p99 = 1000 * np.percentile(latencies, [50, 99])
    print(f"{len(latencies)} answers, {USERS} users: median {median:.1f} ms, p99 {p99:.1f} ms")
    # Beside other work the machine's queue is measured, not the server; the client's limit of 30 s holds all the same.
    alone = "PYTEST_XDIST_WORKER" not in os.environ and os.getloadavg()[0] < 2 * os.cpu_count()
    assert p99 < 500 or not alone
