"""The push service of the exporter itself: fed and answered by the job board."""

from __future__ import annotations

from typing import Any

from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.push.messages import job_data


def statistics_of(board: JobBoard) -> dict[str, Any]:
    """Give what `get_queue_statistics` answers, over all servers."""
    servers = [server for server in board.servers if server.up]
    return {
        "running_jobs": sum(server.running or 0 for server in servers),
        "pending_jobs": sum(server.pending or 0 for server in servers),
        "monitored_jobs": sum(not job.terminal for job in board.jobs),
        "generation_stats": board.statistics.summary(),
    }


class BoardAnswers:
    """Answers the questions of clients from the board."""

    def __init__(self, board: JobBoard) -> None:
        self._board = board

    async def job_progress(self, *, job_id: str | None, prompt_id: str | None) -> object:
        """Give the newest run of a job with its nodes; None if there is none."""
        update = self._board.find(job_id=job_id, prompt_id=prompt_id)
        return None if update is None else job_data(update, self._board.find_nodes(update))

    async def queue_statistics(self) -> object:
        """Give the statistics over all servers."""
        return statistics_of(self._board)
