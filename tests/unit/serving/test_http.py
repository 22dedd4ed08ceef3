"""What the server says: answers, refusals, and nothing to those without the token."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.serving.conftest import QUICK, MakeClient

from multigraft.serving.batching import Limits
from multigraft.serving.engine import Engine, Predicted
from multigraft.serving.http import create_app
from multigraft.serving.loading import load_engine

TOKEN = {"Authorization": "Bearer secret"}
PATHS = ("/predict", "/generate", "/route")


def test_a_model_answers_all_tasks_that_fit(model: Path, client: MakeClient) -> None:
    server = client(model)
    listed = server.get("/tasks").json()
    assert (listed["kind"], listed["offers"], listed["map"]) == ("model", ["predict"], False)
    entries = {entry["name"]: entry for entry in listed["tasks"]}
    assert entries["feeling"]["choices"] == ["bad", "good"]
    assert entries["amount"]["range"] == [1, 5]
    assert entries["pick"]["choices_field"] == "options"
    assert entries["animal"]["inputs"] == ["text", "about"]
    found = server.post("/predict", json={"text": "the cat is good"}).json()["answers"]
    assert list(found) == ["feeling", "amount"]
    assert found["feeling"]["probability"] == max(found["feeling"]["probabilities"].values())
    assert list(found["amount"]) == ["number"]
    pair = server.post("/predict", json={"texts": ["the cat is good", "who is two"]}).json()["answers"]
    assert list(pair) == ["animal"]
    row = {"fields": {"text": "a red cat", "options": ["red", "blue", "big"]}, "tasks": ["pick"]}
    assert server.post("/predict", json=row).json()["answers"]["pick"]["choice"] in ("red", "blue", "big")
    assert server.get("/health").json() == {"status": "ok"}


def test_a_library_routes_and_draws(library: Path, client: MakeClient) -> None:
    server = client(library)
    found = server.post("/route", json={"text": "the cat is good why"}).json()
    assert found["expert"] in ("feeling", "feeling again")
    assert found["ranking"][0]["tied"]
    assert found["ranking"][0]["similarity"] == pytest.approx(found["nearest"][0]["similarity"], abs=1e-5)
    voted = server.post("/route", json={"queries": ["red blue", "blue blue red"]}).json()
    assert (voted["expert"], voted["queries"]) == ("amount", 2)
    assert voted["ranking"][0]["tied"] == ["amount again"]
    assert server.post("/route", json={"texts": ["the dog is one", "who is two"]}).json()["expert"] == "animal"
    written = server.post("/generate", json={"text": "why"}).json()
    assert written["expert"] == "reply"
    assert server.get("/map").status_code == 404
    assert not server.get("/tasks").json()["map"]


def test_a_map_is_served(library: Path) -> None:
    app = create_app(load_engine(library, ["feeling", "amount"]), QUICK)
    with TestClient(app) as server:
        assert server.get("/tasks").json()["map"]
        assert set(server.get("/map").json()) == {"wide", "narrow"}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/predict", {}, "body: Value error, give one of text, texts, fields"),
        ("/predict", {"text": "a", "texts": ["b"]}, "give one of"),
        ("/predict", {"text": "a", "txet": 1}, "body.txet: Extra inputs are not permitted"),
        ("/predict", {"text": "a", "tasks": ["feling"]}, "unknown task 'feling'; did you mean 'feeling'?"),
        ("/predict", {"fields": {"words": "a"}}, "no task can answer it: it has ['words']"),
        ("/predict", {"texts": ["a", "b", "c"]}, "no task can answer it"),
        ("/generate", {"text": "a"}, "nothing in here writes text; ask it to predict"),
        ("/route", {"text": "a"}, "no key vectors to route by; run multigraft library index first"),
    ],
)
def test_what_cannot_be_answered(model: Path, client: MakeClient, path: str, body: Any, message: str) -> None:
    reply = client(model).post(path, json=body)
    assert reply.status_code == 422
    assert message.removesuffix("?") in reply.json()["error"]


def test_bodies_that_are_no_question(model: Path, client: MakeClient) -> None:
    server = client(model, max_bytes=1000)
    typed = {"Content-Type": "application/json"}
    for body in (b"", b"{", b"\xff\xfe", b"[" * 900, b'{"text": NaN}', b'{"text": "\\ud800"}', b"1" * 900, b"null"):
        assert server.post("/predict", content=body, headers=typed).status_code in (400, 422), body
    assert server.post("/predict", content=b'{"text": "a"}').status_code == 422  # not said to be JSON
    assert server.post("/predict", json={"text": "a" * 1000}).status_code == 413
    chunks = (b" " * 100 for _ in range(11))
    assert server.post("/predict", content=chunks, headers=typed).status_code == 413
    assert server.get("/predict").status_code == 405
    assert server.get("/nowhere").json() == {"error": "Not Found"}


def test_nothing_without_the_token(model: Path, client: MakeClient) -> None:
    server = client(model, token="secret")
    paths = ["/", "/docs", "/tasks", "/map", "/metrics", "/openapi.json", "/nowhere", *PATHS]
    for path in paths:
        for headers in (
            {},
            {"Authorization": "Bearer Secret"},
            {"Authorization": "secret"},
            {"Authorization": "Bearer"},
        ):
            reply = server.get(path, headers=headers)
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer"), path
    assert server.get("/health").status_code == 200
    assert server.get("/tasks", headers=TOKEN).status_code == 200
    assert server.get("/tasks", headers={"Authorization": "bearer secret"}).status_code == 200
    assert "HTTPBearer" in server.get("/openapi.json", headers=TOKEN).json()["components"]["securitySchemes"]


def test_the_page_needs_nothing_from_elsewhere(model: Path, client: MakeClient) -> None:
    reply, asks = client(model).get("/"), client(model, token="secret").get("/")
    assert (reply.status_code, asks.status_code) == (200, 401)
    assert reply.text == asks.text == client(model).get("/docs").text
    assert "{{" not in reply.text
    assert not re.search(r'(src|href)="(?!data:)|https?://|@import|url\(', reply.text)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'", policy)
    used = set(re.findall(r'\bat\("([\w-]+)"\)|show\("([\w-]+)"|fill\("([\w-]+)"', reply.text))
    ids = set(re.findall(r'id="([\w-]+)"', reply.text))
    assert {name for names in used for name in names if name} <= ids


def test_every_answer_is_described(model: Path, client: MakeClient) -> None:
    paths = client(model).get("/openapi.json").json()["paths"]
    assert set(paths) == {"/predict", "/generate", "/route", "/tasks", "/map", "/health", "/metrics"}
    for path in (*PATHS, "/tasks", "/map", "/health"):
        (described,) = paths[path].values()
        assert described["description"]
        assert "$ref" in described["responses"]["200"]["content"]["application/json"]["schema"], path


def test_what_is_counted(model: Path, client: MakeClient) -> None:
    server = client(model)
    server.post("/predict", json={"text": "a cat"})
    server.post("/predict", json={})
    for number in range(3):
        server.get(f"/nowhere/{number}")
    text = server.get("/metrics").text
    assert 'multigraft_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'multigraft_requests_total{path="/predict",status="422"} 1.0' in text
    assert 'multigraft_requests_total{path="other",status="404"} 3.0' in text
    assert 'multigraft_batch_size_sum{kind="predict"} 1.0' in text
    assert 'multigraft_waiting{kind="predict"} 0.0' in text


class Held(Engine):
    """An engine that answers when it may, and remembers its batches."""

    def __init__(self, engine: Engine) -> None:
        self.__dict__.update(engine.__dict__)
        self.may_go, self.busy = threading.Event(), threading.Event()
        self.batches: list[list[Predicted]] = []

    def predict(self, questions: Sequence[Predicted]) -> list[Any]:
        self.batches.append(list(questions))
        self.busy.set()
        assert self.may_go.wait(60)
        return super().predict(questions)


@pytest.mark.parametrize("mixed", [True, False])
def test_clients_with_different_tasks_share_a_batch(model: Path, mixed: bool) -> None:
    engine = Held(load_engine(model))
    limits = Limits(wait=0.0)
    bodies = [{"text": "red red blue", "tasks": ["feeling", "amount"][n % 2 :][:1]} for n in range(6)]
    with TestClient(create_app(engine, limits, mixed=mixed)) as server, ThreadPoolExecutor(8) as pool:
        first = pool.submit(server.post, "/predict", json={"text": "a"})
        assert engine.busy.wait(60)
        others = [pool.submit(server.post, "/predict", json=body) for body in bodies]
        while 'multigraft_waiting{kind="predict"} 6.0' not in server.get("/metrics").text:
            pass
        engine.may_go.set()
        assert first.result().status_code == 200
        together = [other.result().json()["answers"] for other in others]
        alone = [server.post("/predict", json=body).json()["answers"] for body in bodies]
    assert sorted(len(batch) for batch in engine.batches[1 : 2 if mixed else 3]) == ([6] if mixed else [3, 3])
    for found, wanted in zip(together, alone, strict=True):
        for name, answer in found.items():
            for key in ("probability", "number"):
                assert answer.get(key) == pytest.approx(wanted[name].get(key), abs=1e-4)


def test_too_many_and_too_slow_get_503(model: Path) -> None:
    engine = Held(load_engine(model))
    with (
        TestClient(create_app(engine, Limits(queue=1, wait=0.0, timeout=0.2))) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = [pool.submit(server.post, "/predict", json={"text": "a"}) for _ in range(4)]
        replies = [one.result() for one in asked]
        assert {reply.status_code for reply in replies} == {503}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies)
        said = {reply.json()["error"] for reply in replies}
        assert said == {"no answer within 0.2 seconds", "1 questions are waiting already"}
        engine.may_go.set()


TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # half surrogate pairs too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXT | JSON,
        "texts": st.lists(TEXT, max_size=3) | JSON,
        "fields": st.dictionaries(st.sampled_from(["text", "about", "options"]), TEXT | st.lists(TEXT)) | JSON,
        "tasks": st.lists(st.sampled_from(["feeling", "amount", "pick", "animal", "nothing"])) | JSON,
        "queries": st.lists(TEXT, max_size=3) | JSON,
        "expert": st.sampled_from(["reply", "feeling"]) | JSON,
        "max_tokens": st.integers(-2, 10) | JSON,
        "least_similarity": st.floats() | JSON,
    },
)
BODIES = st.binary(max_size=200) | (LIKELY | JSON).map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def fuzzed(library: Path) -> Any:
    with (
        TestClient(create_app(load_engine(library), QUICK), raise_server_exceptions=False) as open_one,
        TestClient(create_app(load_engine(library), QUICK, token="secret"), raise_server_exceptions=False) as shut_one,
    ):
        yield open_one, shut_one


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), body=BODIES, kind=st.sampled_from(["application/json", "text/plain", "a/b; c"]))
def test_random_bodies_are_answered_or_refused(fuzzed: Any, path: str, body: bytes, kind: str) -> None:
    open_one, shut_one = fuzzed
    reply = open_one.post(path, content=body, headers={"Content-Type": kind})
    assert reply.status_code in (200, 400, 413, 422, 503), (reply.status_code, body)
    assert ("error" in reply.json()) == (reply.status_code != 200)
    assert shut_one.post(path, content=body, headers={"Content-Type": kind}).status_code == 401


def test_the_server_of_one_loop_ends_with_it(model: Path) -> None:
    app, before = create_app(load_engine(model), QUICK), set(threading.enumerate())

    async def begin_and_end() -> None:
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://x") as one,
        ):
            assert (await one.post("/predict", json={"text": "a"})).status_code == 200

    asyncio.run(begin_and_end())
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("answers")]
