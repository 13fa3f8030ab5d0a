"""A deployment in small: an encoder, an LLM of two tensor-parallel ranks and a generator, a process each, which stream
tensors and tokens to each other while they compute.

    encoder, rank 0 --tensors--> LLM, ranks 1 and 2 --tokens and hidden states--> generator, rank 3

By hand, with one sidecar for each rank (two "nodes": the encoder and the LLM share memory, the generator does not):

    for rank in 0 1 2 3; do
      build/bin/sidecard --rank $rank --node $((rank / 3)) --shm-size 256M \
        --peers 0=127.0.0.1:10000,1=127.0.0.1:10001,2=127.0.0.1:10002,3=127.0.0.1:10003 &
    done
    PYTHONPATH=build/python python3 client/python/examples/pipeline.py

It prints what the generator made of each request. Real executors differ in what they compute, not in what they call.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
from collections.abc import Callable

import numpy
from sidecar import Sidecar, SidecarConfig

HIDDEN = 256
IMAGES = 3  # of each request
ENCODER, LLM, GENERATOR = [0], [1, 2], [3]


def connect(rank: int, group: list[int], addresses: dict[int, str]) -> Sidecar:
    """Tensors are rows of HIDDEN numbers here; the sidecars lay out their memory by that."""
    return Sidecar(
        SidecarConfig(
            sidecar_rank=rank,
            group=group,
            address=addresses[min(group)],  # the sidecar of the smallest rank serves the group
            send_tensor_shape=(-1, HIDDEN),
            send_tensor_dtype="float32",
            recv_tensor_shape=(-1, HIDDEN),
            recv_tensor_dtype="float32",
            framework="numpy",
            concurrent_copy=len(group) > 1,  # each rank of the LLM holds its hidden states whole and copies a share
            timeout=60.0,
        )
    )


async def encoder(rank: int, addresses: dict[int, str], requests: list[str]) -> None:
    """Turns each image of a request into an embedding, and hands it over as soon as it is there."""
    async with connect(rank, ENCODER, addresses) as sidecar:
        for request in requests:
            for image in range(IMAGES):
                # Written where the sidecar sends from: nothing is copied on this node.
                async with sidecar.allocate((2 + image, HIDDEN)) as embedding:
                    embedding[:] = len(request) + image
                    sent = sidecar.send(embedding, f"{request}/images", [LLM], image, IMAGES)
            await sent  # of the last; the others may be ignored


async def llm(rank: int, addresses: dict[int, str], requests: list[str]) -> None:
    """Both ranks run this, in step: both receive everything and make the same sends."""
    async with connect(rank, LLM, addresses) as sidecar:
        for request in requests:
            prompt = 0.0
            async for embedding in sidecar.stream(f"{request}/images"):
                prompt += float(embedding.mean())  # a view of the encoder's memory
            tokens = int(prompt) % 5 + 3  # how many is not known before
            for token in range(tokens):
                await asyncio.sleep(0)  # a step of the model
                hidden = numpy.full((1, HIDDEN), prompt + token, "float32")
                step = {"token": token, "text": f"<{token}>"}
                sidecar.send(step, f"{request}/tokens", [GENERATOR], token, stream=True)
                sent = sidecar.send(hidden, f"{request}/hidden", [GENERATOR], token, stream=True)
            for part in ("tokens", "hidden"):
                await sidecar.close_stream(f"{request}/{part}", tokens, [GENERATOR])
            # Delivered means that both ranks have brought their shares of it, so both have read the images by now. One
            # mark_done frees a chunk for the whole group.
            await sent.delivered
            if rank == LLM[0]:
                for image in range(IMAGES):
                    await sidecar.mark_done(f"{request}/images", image)


async def generator(rank: int, addresses: dict[int, str], requests: list[str]) -> None:
    """Works on all requests at once; each step needs a token and its hidden state."""
    async with connect(rank, GENERATOR, addresses) as sidecar:

        async def generate(request: str) -> str:
            text, energy = "", 0.0
            hidden = aiter(sidecar.stream(f"{request}/hidden", mark_done=True))
            async for step in sidecar.stream(f"{request}/tokens", mark_done=True):
                energy += float((await anext(hidden)).sum())
                text += step["text"]
            async for _ in hidden:  # its end; this marks the last one done
                raise AssertionError("more hidden states than tokens")
            return f"{request}: {text} {energy / HIDDEN:.0f}"

        for line in await asyncio.gather(*map(generate, requests)):
            print(line, flush=True)


def run(executor: Callable[..., object], *arguments: object) -> None:
    asyncio.run(executor(*arguments))  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(description="An encoder, a two-rank LLM and a generator, by way of sidecars.")
    parser.add_argument("--address", action="append", metavar="RANK=HOST:PORT", default=[],
                        help="of a rank's sidecar (default: 127.0.0.1 and port 10000 + rank)")  # fmt: skip
    parser.add_argument("--requests", type=int, default=4)
    options = parser.parse_args()
    addresses = {rank: f"127.0.0.1:{10000 + rank}" for rank in ENCODER + LLM + GENERATOR}
    for each in options.address:
        rank, address = each.split("=", 1)
        addresses[int(rank)] = address
    requests = [f"request-{n}" for n in range(options.requests)]
    executors = [(encoder, 0), (llm, 1), (llm, 2), (generator, 3)]
    # Not forked: a client does not survive that, and neither do CUDA and many other libraries.
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run, args=(each, rank, addresses, requests)) for each, rank in executors]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return 0 if all(process.exitcode == 0 for process in processes) else 1


if __name__ == "__main__":
    sys.exit(main())
