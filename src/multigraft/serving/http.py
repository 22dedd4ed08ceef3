"""The HTTP interface: a FastAPI application around an engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException

from multigraft import __version__
from multigraft.errors import UserError
from multigraft.evaluation.answers import Answer
from multigraft.serving import messages
from multigraft.serving.batching import Batcher, Limits, Refused
from multigraft.serving.engine import Engine, Predicted, Routed, Written
from multigraft.serving.guard import Guard
from multigraft.serving.messages import Generate, Predict, Route
from multigraft.serving.metrics import CONTENT_TYPE, Metrics
from multigraft.serving.page import page_response

MAX_BYTES = 64 * 1024  # of a request's body
PAGES = ("/", "/docs")
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": messages.Fault, "description": "No token, or another one"},
    413: {"description": "The body is too long"},
    422: {"model": messages.Fault, "description": "Not a question that can be answered; says why"},
    503: {"model": messages.Fault, "description": "Too much to do; Retry-After says when to ask again"},
}


class Json(JSONResponse):
    """JSON in ASCII, so that no character of a question can stop its answer."""

    def render(self, content: Any) -> bytes:
        """The content as bytes; NaN is refused."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class Service:
    """An engine with its queues. All that computes runs in one thread, a batch at a time."""

    def __init__(self, engine: Engine, limits: Limits, metrics: Metrics, *, mixed: bool = True) -> None:
        """mixed: may questions to different tasks share a batch? The slow way without is there to be compared with."""
        self.engine = engine
        self._executor = ThreadPoolExecutor(1, "answers")
        self.predictions: Batcher[Predicted, dict[str, Answer]] = Batcher(
            engine.predict, self._executor, limits, key=lambda one: None if mixed else one.tasks,
            answered=lambda size, seconds: metrics.batch("predict", size, seconds),
        )  # fmt: skip
        self.texts: Batcher[Written, str] = Batcher(
            engine.generate, self._executor, limits, key=lambda one: one.tokens,
            answered=lambda size, seconds: metrics.batch("generate", size, seconds),
        )  # fmt: skip
        self.routes: Batcher[Routed, dict[str, Any]] = Batcher(
            engine.route, self._executor, limits, answered=lambda size, seconds: metrics.batch("route", size, seconds)
        )
        self._queues: dict[str, Batcher[Any, Any]] = {
            "predict": self.predictions,
            "generate": self.texts,
            "route": self.routes,
        }
        for kind, queue in self._queues.items():
            metrics.watch(kind, lambda queue=queue: queue.waiting)  # type: ignore[misc]

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Within the block questions are answered; at its end what waits is answered and what comes refused."""
        for queue in self._queues.values():
            queue.start()
        try:
            yield
        finally:
            for queue in self._queues.values():
                await queue.close()
            self._executor.shutdown()


def create_app(
    engine: Engine, limits: Limits, *, token: str | None = None, max_bytes: int = MAX_BYTES, mixed: bool = True
) -> FastAPI:
    """The application. token: what every request but that for /health must carry; max_bytes: of a body."""
    metrics = Metrics()
    service = Service(engine, limits, metrics, mixed=mixed)
    app = FastAPI(
        title=f"Multigraft: {engine.name}",
        version=__version__,
        docs_url=None,  # those pages load their scripts from elsewhere; the page shows the description instead
        redoc_url=None,
        lifespan=service.running,
        max_body_size=max_bytes,
        dependencies=[Security(HTTPBearer(auto_error=False))] if token is not None else [],
        default_response_class=Json,
    )
    _add_questions(app, service)
    _add_description(app, engine, metrics)
    _add_refusals(app)
    paths = [getattr(route, "path", "") for route in app.routes]
    app.add_middleware(Guard, token=token, metrics=metrics, paths=paths, pages=PAGES, page=page_response)  # type: ignore[arg-type]
    return app


def _add_questions(app: FastAPI, service: Service) -> None:
    engine = service.engine

    @app.post("/predict", response_model=messages.Predictions, responses=_REFUSALS)
    async def predict(asked: Predict) -> Response:
        """Answer a row for all tasks that fit it, or for those that are named."""
        question = engine.predicted(asked.row(), asked.tasks)
        return Json(messages.answers_record(await service.predictions.ask(question)))

    @app.post("/generate", response_model=messages.Generated, responses=_REFUSALS)
    async def generate(asked: Generate) -> Response:
        """Let an expert write what it says to a text."""
        question = engine.written(asked.text, asked.expert, asked.max_tokens)
        return Json({"expert": question.expert, "output": await service.texts.ask(question)})

    @app.post("/route", response_model=messages.RouteResult, responses=_REFUSALS)
    async def route(asked: Route) -> Response:
        """Find the expert of the library that was trained on texts most like these."""
        question = engine.routed(asked.rows(), asked.least_confidence, asked.least_similarity)
        return Json(messages.route_record(await service.routes.ask(question)))


def _add_description(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    @app.get("/tasks")
    async def tasks() -> messages.Tasks:
        """List what is served."""
        return messages.Tasks(
            name=engine.name, kind=engine.kind, version=__version__, offers=engine.offers,
            max_tokens=engine.most_tokens, map=engine.maps is not None, tasks=engine.entries,
        )  # fmt: skip

    @app.get("/map", responses={404: {"model": messages.Fault, "description": "There is none"}})
    async def task_map() -> messages.Map:
        """Draw how alike the experts of a library are."""
        if engine.maps is None:
            raise HTTPException(404, "no map: experts have neither key vectors nor prompts")
        return messages.Map(wide=engine.maps[0], narrow=engine.maps[1])

    @app.get("/health")
    async def health() -> messages.Health:
        """Say that the server is there; this needs no token."""
        return messages.Health(status="ok")

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def counters() -> Response:
        """Requests, batches and queues, for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    @app.get("/", include_in_schema=False, response_class=HTMLResponse)
    async def page() -> Response:
        return page_response(200)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    async def unanswerable(_: Request, error: UserError) -> Response:
        return Json({"error": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()[:3]]
        return Json({"error": "; ".join(f"{place}: {what}" for place, what in faults)}, 422)

    @app.exception_handler(Refused)
    async def busy(_: Request, error: Refused) -> Response:
        return Json({"error": str(error)}, 503, {"Retry-After": str(error.retry)})

    @app.exception_handler(AnyHTTPException)
    async def refused(_: Request, error: AnyHTTPException) -> Response:
        return Json({"error": str(error.detail)}, error.status_code, error.headers)
