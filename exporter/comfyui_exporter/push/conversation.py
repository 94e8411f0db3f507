"""What clients ask for, and what they are answered."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import assert_never

import msgspec

from comfyui_exporter.push.client import Client
from comfyui_exporter.push.ports import Answers, Unavailable
from comfyui_exporter.push.requests import (
    GetJobProgress,
    GetQueueStatistics,
    Ping,
    Request,
    RequestError,
    Subscribe,
    Unsubscribe,
    answer_frame,
    error_frame,
    read_request,
)
from comfyui_exporter.push.state import State
from comfyui_exporter.push.subscription import EVERYTHING, Subscription, subscription

log = logging.getLogger("comfyui_exporter.push")

_LISTS = ("job_ids", "prompt_ids", "batch_ids", "servers", "statuses")


class Conversation:
    """Talks with all clients.

    Questions of one client are answered one after the other, in a task that lives as long as there are some.
    """

    def __init__(self, answers: Answers, state: State) -> None:
        self._answers = answers
        self._state = state

    def hear(self, client: Client, text: bytes) -> None:
        """Take one message of a client."""
        try:
            request, request_id = read_request(text)
            self._act(client, request, request_id)
        except RequestError as error:
            client.send(error_frame(error.code, error.message, error.request_id))

    def answer_more(self, client: Client) -> None:
        """Go on with the questions of a client that reads again."""
        client.task = asyncio.get_running_loop().create_task(self._answer_all(client))

    def _act(self, client: Client, request: Request, request_id: msgspec.Raw | None) -> None:
        match request:
            case Ping():
                client.send(answer_frame("pong", request_id))
            case Subscribe():
                self._subscribe(client, request, request_id)
            case Unsubscribe():
                client.subscribe(_confined(client, EVERYTHING), _subscribed(Subscribe(), request_id))
            case GetJobProgress() | GetQueueStatistics():
                self._ask(client, request, request_id)
            case _:
                assert_never(request)

    def _subscribe(self, client: Client, request: Subscribe, request_id: msgspec.Raw | None) -> None:
        lists = {name: getattr(request, name) for name in _LISTS}
        try:
            wanted = subscription(**lists)
        except ValueError as error:
            raise RequestError("bad_request", f"subscribe: {error}", request_id) from None
        scope = client.scope
        if scope is not None and wanted.prompt_ids is not None and scope not in wanted.prompt_ids:
            raise RequestError("forbidden", "the token is good for one other job only", request_id)
        client.subscribe(_confined(client, wanted), _subscribed(request, request_id))

    def _ask(self, client: Client, request: Request, request_id: msgspec.Raw | None) -> None:
        if client.questions is None:
            client.questions = deque()
        # The one that is being answered stays the first of them.
        if len(client.questions) >= client.limits.questions:
            message = f"{client.limits.questions} questions wait for their answers already"
            raise RequestError("rate_limited", message, request_id)
        client.questions.append((self._within_scope(client, request, request_id), request_id))
        if client.task is None and not client.paused:
            self.answer_more(client)

    def _within_scope(self, client: Client, request: Request, request_id: msgspec.Raw | None) -> Request:
        """Refuse what a client with a token for one job may not know, and make sure that no other job is meant."""
        scope = client.scope
        if scope is None:
            return request
        if not isinstance(request, GetJobProgress):
            raise RequestError("forbidden", "the token is good for one job only", request_id)
        if request.prompt_id is not None:
            allowed = request.prompt_id == scope
        else:
            allowed = any(job.job_id == str(request.job_id) for job in self._state.jobs_of_prompt(scope))
        if not allowed:
            raise RequestError("forbidden", "the token is good for one other job only", request_id)
        return GetJobProgress(job_id=request.job_id, prompt_id=scope)

    async def _answer_all(self, client: Client) -> None:
        try:
            # While its socket is full nothing is prepared for it: answers may be large. It is asked for again then.
            while client.questions and not client.paused:
                request, request_id = client.questions[0]
                frame = await self._answer(request, request_id)
                if not client.questions:
                    return
                client.send(frame)
                if client.questions:
                    client.questions.popleft()
        finally:
            client.task = None
            if client.questions is not None and not client.questions:
                client.questions = None

    async def _answer(self, request: Request, request_id: msgspec.Raw | None) -> bytes:
        try:
            if isinstance(request, GetJobProgress):
                job_id = None if request.job_id is None else str(request.job_id)
                data = await self._answers.job_progress(job_id=job_id, prompt_id=request.prompt_id)
                return answer_frame("job_progress", request_id, data)
            return answer_frame("queue_statistics", request_id, await self._answers.queue_statistics())
        except Unavailable as error:
            return error_frame("unavailable", str(error), request_id)
        except Exception:
            log.exception("a question of a push client could not be answered")
            return error_frame("internal", "the question could not be answered; the log says why", request_id)


def _confined(client: Client, wanted: Subscription) -> Subscription:
    return wanted if client.scope is None else wanted.confined_to(client.scope)


def _subscribed(request: Subscribe, request_id: msgspec.Raw | None) -> bytes:
    return answer_frame("subscribed", request_id, {name: getattr(request, name) for name in _LISTS})
