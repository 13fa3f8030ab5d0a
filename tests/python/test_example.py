"""The example runs as its text says, and leaves nothing; it is also what a newcomer reads."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BUILD, Cluster

EXAMPLE = Path(__file__).resolve().parents[2] / "client/python/examples/pipeline.py"


@pytest.fixture(params=["aaab", "aaaa", "abbc"], ids=["as its text says", "one node", "three nodes"])
def deployment(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    deployment = Cluster(list(request.param))
    try:
        yield deployment
    finally:
        deployment.close()


def test_the_pipeline_streams_from_encoder_to_llm_to_generator_and_leaves_nothing(
    deployment: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{BUILD / 'python'}")
    addresses = [f"--address={rank}={deployment.address(rank)}" for rank in range(4)]
    ended = subprocess.run(
        [sys.executable, str(EXAMPLE), "--requests=5", *addresses], capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"request-{n}" for n in range(5)]
    for line in lines:
        tokens = re.findall(r"<(\d+)>", line)
        assert tokens == [str(n) for n in range(30 % 5 + 3)]  # embeddings of mean 9, 10 and 11
        assert line.endswith(f" {3 * 30 + 0 + 1 + 2}")
    deployment.becomes_empty()


def test_the_commands_of_its_text_are_those_that_start_it() -> None:
    text = EXAMPLE.read_text().split('"""')[1]
    assert "--node $((rank / 3))" in text and "PYTHONPATH=build/python" in text
    peers = re.search(r"--peers (\S+)", text)
    assert peers is not None
    assert peers[1] == ",".join(f"{rank}=127.0.0.1:{10000 + rank}" for rank in range(4))
    assert len(EXAMPLE.read_text().splitlines()) < 200
