"""Questions are answered together, in order, within limits; the model is a function that waits for a sign."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from multigraft.serving.batching import Batcher, Limits, Refused

LONG = 60.0  # seconds that nothing here takes


class Slow:
    """Answers n with 10 n once it may go on; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go, self.busy = threading.Event(), threading.Event()

    def __call__(self, questions: list[int]) -> list[int]:
        self.batches.append(questions)
        self.busy.set()
        assert self.may_go.wait(LONG)
        if 13 in questions:
            raise ValueError("13")
        return [10 * question for question in questions]

    async def started(self) -> None:
        assert await asyncio.to_thread(self.busy.wait, LONG)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


Test = Callable[[Batcher[int, int], Slow], Coroutine[Any, Any, None]]


def run(
    executor: ThreadPoolExecutor, test: Test, key: Callable[[int], Hashable] = lambda question: None, **limits: Any
) -> list[list[int]]:
    """The batches of a test, which is given a running batcher and its model."""

    async def whole() -> list[list[int]]:
        model = Slow()
        batcher = Batcher(model, executor, Limits(**limits), key=key)
        batcher.start()
        try:
            await test(batcher, model)
        finally:
            model.may_go.set()
            await batcher.close()
        return model.batches

    return asyncio.run(whole())


async def held(batcher: Batcher[int, int], model: Slow) -> asyncio.Task[int]:
    """A question that is being answered, so that others have to wait."""
    first = asyncio.create_task(batcher.ask(0))
    await model.started()
    return first


async def lined_up(batcher: Batcher[int, int], questions: list[int]) -> list[asyncio.Task[int]]:
    """Questions that stand in the queue, in this order."""
    asked = [asyncio.create_task(batcher.ask(question)) for question in questions]
    await asyncio.sleep(0)  # each runs as far as the queue
    return asked


def test_what_comes_meanwhile_is_answered_together(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        first = await held(batcher, model)
        others = await lined_up(batcher, [1, 2, 3, 4, 5])
        assert batcher.waiting == 5
        model.may_go.set()
        assert await asyncio.gather(first, *others) == [0, 10, 20, 30, 40, 50]

    assert run(executor, test, batch=4, wait=0.0) == [[0], [1, 2, 3, 4], [5]]


def test_a_full_batch_waits_for_nobody(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        model.may_go.set()
        assert await asyncio.gather(*(batcher.ask(n) for n in (1, 2, 3))) == [10, 20, 30]

    assert run(executor, test, batch=3, wait=LONG) == [[1, 2, 3]]


def test_one_question_waits_no_longer_than_it_must(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        model.may_go.set()
        assert await batcher.ask(7) == 70

    assert run(executor, test, batch=32, wait=0.01) == [[7]]


def test_a_batch_has_one_key(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        first = await held(batcher, model)
        others = await lined_up(batcher, [1, 2, 3, 4, 5])
        model.may_go.set()
        await asyncio.gather(first, *others)

    assert run(executor, test, key=lambda n: n % 2, batch=32, wait=0.0) == [[0], [1, 3, 5], [2, 4]]


def test_a_full_queue_refuses(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        first = await held(batcher, model)
        others = await lined_up(batcher, [1, 2])
        with pytest.raises(Refused, match="2 questions are waiting already") as refused:
            await batcher.ask(3)
        assert refused.value.retry >= 1
        model.may_go.set()
        assert await asyncio.gather(first, *others) == [0, 10, 20]

    assert run(executor, test, queue=2, wait=0.0) == [[0], [1, 2]]


def test_what_takes_too_long_is_given_up_and_not_computed(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        first = await held(batcher, model)
        with pytest.raises(Refused, match=r"no answer within 0\.02 seconds"):
            await batcher.ask(1)
        with pytest.raises(Refused):
            await first
        assert batcher.waiting == 0
        model.may_go.set()

    assert run(executor, test, timeout=0.02, wait=0.0) == [[0]]


def test_an_error_goes_to_its_batch_alone(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        first = await held(batcher, model)
        bad = await lined_up(batcher, [13])
        model.may_go.set()
        assert await first == 0
        with pytest.raises(ValueError, match="13"):
            await bad[0]
        assert await batcher.ask(2) == 20

    assert run(executor, test, wait=0.0) == [[0], [13], [2]]


def test_at_the_end_what_waits_is_answered_and_what_comes_refused(executor: ThreadPoolExecutor) -> None:
    async def test(batcher: Batcher[int, int], model: Slow) -> None:
        waiting = await lined_up(batcher, [1, 2])
        closing = asyncio.create_task(batcher.close())
        await model.started()
        with pytest.raises(Refused, match="stopping"):
            await batcher.ask(3)
        model.may_go.set()
        assert await asyncio.gather(*waiting) == [10, 20]
        await closing

    assert run(executor, test, wait=LONG) == [[1, 2]]
