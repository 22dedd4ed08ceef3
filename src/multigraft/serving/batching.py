"""Dynamic batching: questions that come at about the same time are answered together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import Field

from multigraft.settings import Record

Q = TypeVar("Q")
A = TypeVar("A")


class Limits(Record):
    """How long a question waits, and how many do."""

    batch: int = Field(32, ge=1)  # questions answered together
    wait: float = Field(0.005, ge=0)  # seconds that a question waits for others, if nothing else keeps it waiting
    queue: int = Field(256, ge=1)  # questions that wait; more are refused
    timeout: float = Field(30.0, gt=0)  # seconds until a question is given up


class Refused(Exception):
    """A question that is not answered: the server has too much to do. `retry`: when to ask again, in seconds."""

    def __init__(self, why: str, retry: int) -> None:
        super().__init__(why)
        self.retry = retry


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Q, A]):
    question: Q
    key: Hashable
    since: float
    answer: asyncio.Future[A]


class Batcher(Generic[Q, A]):
    """Collects questions and answers a batch of them at a time, in `executor`, so that others can come meanwhile.

    A batch begins with the question that waits longest, takes others with the same key, and is answered when it is
    full, or when its first question has waited `limits.wait`. All of it happens in one event loop.
    """

    def __init__(
        self,
        answer: Callable[[list[Q]], Sequence[A]],
        executor: Executor,
        limits: Limits,
        *,
        key: Callable[[Q], Hashable] = lambda question: None,
        answered: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """key: what questions of a batch have in common. answered: is told the size of each batch and its seconds."""
        self._answer, self._executor, self._limits = answer, executor, limits
        self._key, self._answered = key, answered
        self._questions: list[_Waiting[Q, A]] = []
        self._changed = asyncio.Event()
        self._closing = False
        self._seconds = 0.0  # that the last batch took
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Questions in the queue."""
        return len(self._questions)

    def start(self) -> None:
        """Begin to answer. Call it in the event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Answer what waits, refuse what comes, and end."""
        self._closing = True
        self._changed.set()
        if self._worker is not None:
            await self._worker

    async def ask(self, question: Q) -> A:
        """The answer to a question.

        Raises Refused when the queue is full, the answer takes longer than `limits.timeout`, or the server stops; and
        what answering its batch raised.
        """
        if self._closing:
            raise Refused("the server is stopping", 1)
        if len(self._questions) >= self._limits.queue:
            raise Refused(f"{len(self._questions)} questions are waiting already", self._retry())
        loop = asyncio.get_running_loop()
        one: _Waiting[Q, A] = _Waiting(question, self._key(question), loop.time(), loop.create_future())
        self._questions.append(one)
        self._changed.set()
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await one.answer
        except TimeoutError:
            raise Refused(f"no answer within {self._limits.timeout:g} seconds", self._retry()) from None
        finally:
            if one in self._questions:
                self._questions.remove(one)

    def _retry(self) -> int:
        """Seconds until what waits now is answered, at the pace of the last batch."""
        batches = len(self._questions) / self._limits.batch
        return max(1, math.ceil(batches * self._seconds))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := await self._next(loop):
            started = loop.time()
            questions = [one.question for one in batch]
            try:
                answers = await loop.run_in_executor(self._executor, self._answer, questions)
            except Exception as error:  # the batch's questions get it; others are still to be answered
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
                continue
            self._seconds = loop.time() - started
            self._answered(len(batch), self._seconds)
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():  # given up meanwhile
                    one.answer.set_result(answer)

    async def _next(self, loop: asyncio.AbstractEventLoop) -> list[_Waiting[Q, A]]:
        """The next batch, once it is full or has waited; none when the end has come."""
        while True:
            self._changed.clear()
            left: float | None = None
            if self._questions:
                first = self._questions[0]
                batch = [one for one in self._questions if one.key == first.key][: self._limits.batch]
                left = first.since + self._limits.wait - loop.time()
                if len(batch) == self._limits.batch or left <= 0 or self._closing:
                    taken = set(batch)
                    self._questions = [one for one in self._questions if one not in taken]
                    return batch
            elif self._closing:
                return []
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
