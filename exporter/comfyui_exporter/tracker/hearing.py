"""What the event stream told of executing prompts, kept until it is known which run it is about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from comfyui_exporter.tracker.observations import EventsMissed, ExecutionBegan, ExecutionOver, NodesCached, NodesHeard
from comfyui_exporter.tracker.progress import NodeCosts, RunProgress, Timed

_PROMPTS_KEPT = 64
"""ComfyUI executes one at a time; more than this that no run is known of are an attack."""

_NAMED_KEPT = 200


class Hearing:
    """Progress by prompt_id, and the prompt_ids that events named before any read did."""

    def __init__(self) -> None:
        self.costs = NodeCosts()
        self._progress: OrderedDict[str, RunProgress] = OrderedDict()
        self._earlier: dict[str, RunProgress] = {}
        """Of prompts that execute again before the end of the run before was read; one each."""
        self._heard_at: dict[str, float] = {}
        """When events of the prompt were last heard, since events were last missed."""
        self._named: OrderedDict[str, None] = OrderedDict()
        self._covered = False
        """Whether the stream has been open since before whatever is heard next."""

    def miss(self, _event: EventsMissed) -> None:
        """Events went unheard."""
        self._covered = False
        self._heard_at.clear()
        for progress in self._progress.values():
            progress.missed()

    def hear(self, event: ExecutionBegan | NodesCached | NodesHeard | ExecutionOver) -> list[Timed]:
        """Take in an event, and say what was timed by it."""
        progress = self._progress.get(event.prompt_id)
        if isinstance(event, ExecutionOver):
            return []
        anew = isinstance(event, ExecutionBegan) or (
            isinstance(event, NodesHeard) and progress is not None and progress.restarts_with(event)
        )
        if progress is not None and anew:
            # The end of the run before is not read yet; what was heard of it stays its own.
            self._earlier[event.prompt_id] = progress
        if progress is None or anew:
            progress = RunProgress(None, self.costs, since_start=self._covered or isinstance(event, ExecutionBegan))
            self._progress[event.prompt_id] = progress
            if len(self._progress) > _PROMPTS_KEPT:
                oldest = next(iter(self._progress))
                self._earlier.pop(oldest, None)
                self.forget(oldest)
        self._covered = True
        self._heard_at[event.prompt_id] = event.at
        if isinstance(event, NodesCached):
            progress.hear_cached(event)
        elif isinstance(event, NodesHeard):
            return list(progress.hear(event))
        return []

    def progress_of(self, prompt_id: str) -> RunProgress | None:
        """Give what was heard of a prompt that executes."""
        return self._progress.get(prompt_id)

    def heard_at(self, prompt_id: str) -> float | None:
        """When an event of this prompt was last heard; None if none was, or some may have been missed since."""
        return self._heard_at.get(prompt_id)

    def forget(self, prompt_id: str) -> RunProgress | None:
        """Its run is over: what comes next of this prompt_id is another run."""
        earlier = self._earlier.pop(prompt_id, None)
        if earlier is not None:
            return earlier
        self._heard_at.pop(prompt_id, None)
        return self._progress.pop(prompt_id, None)

    # Names

    def name(self, prompt_id: str) -> None:
        """Note a prompt that executes and of which no run is known."""
        self._named[prompt_id] = None
        if len(self._named) > _NAMED_KEPT:
            self._named.popitem(last=False)

    @property
    def named(self) -> Iterable[str]:
        """The prompts that executed and were not looked up since."""
        return tuple(self._named)

    def looked_up(self, prompt_id: str) -> None:
        """The history was asked for it."""
        self._named.pop(prompt_id, None)
