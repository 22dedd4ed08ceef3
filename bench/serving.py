"""Answers per second of the server with 64 clients and 32 tasks, over one task in a batch and over a pipeline."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from statistics import quantiles
from typing import Annotated, Any

from common import Side, compare, finish, interleave, options, versions
from fastapi import Body

CLIENTS, TASKS, EACH = 64, 32, 5  # EACH: questions of a client in a round
BATCH, WAIT = 64, 0.005  # largest batch, and seconds that a question waits for others
METHOD = {"name": "lora", "rank": 8}
MIXED, ALONE, PIPELINE = "mixed batches", "one task in a batch", "transformers pipeline behind FastAPI"


def our_app(*, mixed: bool) -> Any:
    """The server with an expert and two classes for each task."""
    from sides import MINILM, joint_model

    from multigraft.evaluation.answers import Answerer, Asked, Question
    from multigraft.serving.batching import Limits
    from multigraft.serving.engine import Engine, Entry
    from multigraft.serving.http import create_app
    from multigraft.tasks.outputs import Choice

    names = [f"task{i}" for i in range(TASKS)]
    question = Question(("text",), Choice(field="label", choices=("no", "yes")))
    joint = joint_model(METHOD, TASKS).eval()
    answerer = Answerer([Asked(joint, dict.fromkeys(names, question), 128, "bf16")])
    entries = [Entry(name=name, kind="choice", choices=("no", "yes")) for name in names]
    limits = Limits(batch=BATCH, wait=WAIT, queue=4 * CLIENTS)
    return create_app(Engine(MINILM, "model", entries, answerer=answerer), limits, mixed=mixed)


def pipeline_app() -> Any:
    """A pipeline as its users put it behind FastAPI; one for all tasks, which spares it 32 models."""
    from fastapi import FastAPI
    from sides import MINILM, bf16, plain_model
    from transformers import pipeline

    from multigraft.backbones.load import load_tokenizer

    pipe = pipeline("text-classification", model=plain_model().eval(), tokenizer=load_tokenizer(MINILM))
    app = FastAPI()

    @app.post("/predict")
    def predict(text: Annotated[str, Body()], tasks: Annotated[list[str], Body()]) -> dict[str, Any]:
        with bf16():
            return {task: pipe(text, truncation=True, max_length=128, top_k=None) for task in tasks}

    return app


APPS: dict[str, Callable[[], Any]] = {
    MIXED: partial(our_app, mixed=True), ALONE: partial(our_app, mixed=False), PIPELINE: pipeline_app,
}  # fmt: skip


def serve(name: str, threads: int, ends: Connection) -> None:
    """In a process of its own: a server that tells its port and runs until the process is ended."""
    import torch

    from multigraft.serving.server import Server, bind

    torch.set_num_threads(threads)
    bound = bind("127.0.0.1", 0)
    Server(APPS[name](), timeout=60, ready=lambda: ends.send(bound.getsockname()[1])).run([bound])


def questions() -> list[bytes]:
    """Requests, each a text of the starter suite to one task, as many as the clients ask in a round."""
    from multigraft.tasks.suite import load_suite

    suite = load_suite("starter").tasks.values()
    texts = [row.inputs[0] for task in suite if len(task.inputs) == 1 for row in task.examples("test", 20)]
    return [_request(texts[n % len(texts)], f"task{n % TASKS}") for n in range(CLIENTS * EACH)]


def _request(text: str, task: str) -> bytes:
    body = json.dumps({"text": text, "tasks": [task]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def client(port: int, asked: Sequence[bytes], latencies: list[float]) -> None:
    """Ask one after the other on one connection. Raises SystemExit for anything but an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in asked:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        body = await reader.readexactly(int(fields[b"content-length"]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{head.decode()}{body.decode()}")
        latencies.append(time.perf_counter() - started)
    writer.close()


def side(port: int, asked: Sequence[bytes], latencies: list[float]) -> Side:
    """All clients ask at once; gives the seconds until the last has its answers."""

    async def clients() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(client(port, asked[n::CLIENTS], latencies) for n in range(CLIENTS)))
        return time.perf_counter() - started

    return lambda: asyncio.run(clients())


def main() -> None:
    """Measure and keep the results."""
    chosen = options(__doc__ or "")
    asked, spawn = questions(), multiprocessing.get_context("spawn")
    latencies: dict[str, list[float]] = {name: [] for name in APPS}
    sides, running = {}, []
    for name in APPS:
        ours, theirs = spawn.Pipe()
        running.append(spawn.Process(target=serve, args=(name, chosen.threads, theirs), daemon=True))
        running[-1].start()
        theirs.close()  # so that a server that fails ends this too
        sides[name] = side(ours.recv(), asked, latencies[name])
    times = interleave(sides, chosen.seconds)
    for process in running:
        process.terminate()
    about = {name: _figures(latencies[name], times[name]) for name in APPS}
    for name, figures in about.items():
        print(name, ", ".join(f"{key} {value:.1f}" for key, value in figures.items()), sep=": ")
    settings = {"clients": CLIENTS, "tasks": TASKS, "batch": BATCH, "wait_ms": 1e3 * WAIT, "method": METHOD,
                "backbone": "minilm", "precision": "bf16 autocast", "figures": about}  # fmt: skip
    measures = [compare(times, MIXED, ALONE, 0.50), compare(times, MIXED, PIPELINE)]
    peers = versions("fastapi", "uvicorn")
    finish("serving", "Answers of 64 clients to 32 tasks", measures, chosen, settings=settings, peers=peers)


def _figures(latencies: Sequence[float], times: Sequence[float]) -> dict[str, float]:
    percentiles = quantiles(latencies, n=100)
    rate = CLIENTS * EACH / (sum(times) / len(times))
    return {"answers_per_second": rate, "p50_ms": 1e3 * percentiles[49], "p99_ms": 1e3 * percentiles[98]}


if __name__ == "__main__":
    main()
