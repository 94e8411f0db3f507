"""Drills of what happens to a ComfyUI and its jobs."""

from __future__ import annotations

import asyncio

from alerting.graphs import failing, good, silent
from alerting.stage import Stage

_PAST_JOBS = 250
"""So many that nine more, all failed, are less than a 20th."""


async def down(stage: Stage) -> None:
    """Two servers are killed right after jobs failed on one of them; later they come back."""
    # As often as can be configured: servers that die together are noticed as closely together as in reality.
    async with stage.place("down", count=2, settings={"poll_interval": "100ms"}) as place:
        # The share of failures would be told after five minutes; by then its server is known to be down.
        await asyncio.gather(*(place.comfy.submit(failing("file")) for _ in range(3)))
        failed = f'sum(comfyui_job_failures_total{{job="{place.job}"}}) == 3'
        await stage.prometheus.until(failed)
        place.act("kill two ComfyUIs")
        for comfy in place.comfys:
            comfy.kill()
        await place.told("ComfyUIDown", all_servers=True, says=("has not answered",))
        await place.kept_back("ComfyUIHighFailureRate", by="ComfyUIDown")
        place.expected |= {"ComfyUIHighFailureRate"}  # once its server is back
        place.undo()
        await asyncio.gather(*(comfy.start() for comfy in place.comfys))
        await place.over("ComfyUIDown")


async def restarted(stage: Stage) -> None:
    """A server is killed with jobs in its queue, and starts again."""
    async with stage.place("restarted") as place:
        for _ in range(3):
            await place.comfy.submit(good(60_000, 100))
        await stage.prometheus.until(f'sum(comfyui_queue_jobs{{job="{place.job}"}}) == 3')
        place.act("kill a ComfyUI with three jobs, start it again")
        place.comfy.kill()
        await place.comfy.start()
        place.expected |= {"ComfyUIDown"}  # a start that takes its time, on a busy machine
        place.undo()
        await asyncio.gather(
            place.told("ComfyUIRestarted", says=("restarted 1 time",)),
            place.told("ComfyUIJobsLost", says=("3 job(s)",)),
        )
        await place.over("ComfyUIRestarted", "ComfyUIJobsLost", patience=150)


async def stuck(stage: Stage) -> None:
    """The worker thread of a server dies of a prompt, while the server goes on to answer; somebody restarts it."""
    async with stage.place("stuck", of_server={"stall_timeout": "2s"}) as place:
        place.act("a prompt ends the worker thread, five more wait")
        await place.comfy.post("/prompt", {"prompt": good(), "extra_data": None})
        for _ in range(5):
            await place.comfy.submit(good())
        await place.told("ComfyUIQueueStuck", says=("job(s) in its queue", "nothing has started"), patience=150)
        place.expected |= {"ComfyUIJobStalled", "ComfyUIJobsLost", "ComfyUIDown", "ComfyUIQueueBacklog"}
        place.undo()
        place.comfy.kill()
        await place.comfy.start()
        await place.over("ComfyUIQueueStuck")


async def stalled(stage: Stage) -> None:
    """A node hangs, and its user interrupts it in the end."""
    async with stage.place("stalled", of_server={"stall_timeout": "1s"}) as place:
        place.act("a node hangs")
        prompt_id = await place.comfy.submit(silent(600), job_id=7)
        await place.told("ComfyUIJobStalled", says=(prompt_id, "job 7", "type image", "it began"))
        place.expected |= {"ComfyUIJobsLost", "ComfyUIDown"}
        place.undo()
        place.comfy.kill()
        await place.comfy.start()
        await place.over("ComfyUIJobStalled")


async def timeout(stage: Stage) -> None:
    """A job runs for longer than job_timeout."""
    async with stage.place("timeout", of_server={"job_timeout": "2s"}) as place:
        place.act("a job of 5 s, where job_timeout is 2 s")
        place.undo()
        await place.comfy.submit(good(5_000, 50))
        await place.told("ComfyUIJobTimeout", says=("1 job(s) of type image",))
        await place.over("ComfyUIJobTimeout")


async def out_of_memory(stage: Stage) -> None:
    """A job runs out of GPU memory because another program holds most of it."""
    async with stage.place("memory") as place:
        place.act("another program takes 22 GB, a job runs out of memory")
        await place.comfy.post("/simulator/memory", {"taken_gigabytes": 22})
        prompt_id = await place.comfy.submit(failing("oom_torch"), job_id=11)
        await asyncio.gather(
            place.told("ComfyUIJobFailed", says=(prompt_id, "job 11", "type image", "ProbeFail", "cuda_oom")),
            place.told("ComfyUIOutOfMemory", says=("1 job(s)", "cuda_oom")),
            place.told("ComfyUIVRAMLow", says=("device 0",)),
        )
        place.undo()
        await place.comfy.post("/simulator/memory", {"taken_gigabytes": 0})
        await place.over("ComfyUIJobFailed", "ComfyUIVRAMLow", "ComfyUIOutOfMemory", patience=240)


async def idle_memory(stage: Stage) -> None:
    """A server does nothing for half an hour, and its memory is taken all the time."""
    async with stage.place("idle") as place:
        place.act("another program takes 22 GB, nobody submits")
        await place.comfy.post("/simulator/memory", {"taken_gigabytes": 22})
        await place.told("ComfyUIVRAMLow", says=("device 0",), patience=180)
        place.undo()
        await place.comfy.post("/simulator/memory", {"taken_gigabytes": 0})
        await place.over("ComfyUIVRAMLow")


async def failures(stage: Stage) -> None:
    """A model file is gone: all jobs of a good server fail for the same reason, until it is back."""
    async with stage.place("failures") as place:
        # Without a past all windows of the success rate would hold the same nine jobs.
        for _ in range(_PAST_JOBS):
            await place.comfy.submit(good(40))
        job = f'job="{place.job}"'
        await stage.prometheus.until(f'sum(comfyui_jobs_total{{{job},status="completed"}}) > {_PAST_JOBS}')
        await stage.prometheus.until(f"sum(job_type_status:comfyui_jobs:increase1h{{{job}}}) == 0", 240)
        place.act("nine jobs in a row find their model missing")
        for _ in range(9):
            await place.comfy.submit(failing("file"))
        await asyncio.gather(
            place.told("ComfyUIHighFailureRate", says=("most often with missing_file",)),
            place.told("ComfyUIFailurePattern", says=("9 jobs", "missing_file")),
            place.told("ComfyUIJobSuccessSLOBurn", says=("in the last 1h", "where 95% are to be completed")),
        )
        place.undo()
        for _ in range(20):
            await place.comfy.submit(good())
        await place.over("ComfyUIHighFailureRate", "ComfyUIFailurePattern", "ComfyUIJobSuccessSLOBurn", patience=300)


async def backlog(stage: Stage) -> None:
    """More is submitted than can be done for hours; then the queue is cleared."""
    async with stage.place("backlog") as place:
        for _ in range(3):
            await place.comfy.submit(good(4_000, 20))
        await stage.prometheus.until(f'sum(comfyui_jobs_total{{job="{place.job}",status="completed"}}) == 4')
        place.act("submit 100 jobs of 4 s")
        for _ in range(100):
            await place.comfy.submit(good(4_000, 20))
        await place.told("ComfyUIQueueBacklog", says=("job(s) wait on",), patience=150)
        place.undo()
        await place.comfy.post("/queue", {"clear": True})
        await place.over("ComfyUIQueueBacklog")


async def slow(stage: Stage) -> None:
    """A GPU is throttled over a quiet hour: the same jobs take five times as long as before."""
    async with stage.place("slow", speed=5) as place:
        for _ in range(24):
            await place.comfy.submit(good(6_000, 10))
        job = f'job="{place.job}"'
        await stage.prometheus.until(f'sum(comfyui_jobs_total{{{job},status="completed"}}) == 25')
        await stage.prometheus.until(f"sum(job_type:comfyui_job_estimate_ratio:increase1h{{{job}}}) < 1", 240)
        place.comfy.kill()
        place.comfy.speed = 1
        place.expected |= {"ComfyUIDown"}  # a start that takes its time, on a busy machine
        await place.comfy.start()
        place.act("the same jobs take five times as long")
        for _ in range(15):
            await place.comfy.submit(good(6_000, 10))
        await place.told("ComfyUISlowGeneration", says=("image jobs", "times as long"), patience=150)
        place.undo()
        await place.over("ComfyUISlowGeneration", patience=300)


DRILLS = {
    "down": down, "restarted": restarted, "stuck": stuck, "stalled": stalled, "timeout": timeout,
    "memory": out_of_memory, "idle": idle_memory, "failures": failures, "backlog": backlog, "slow": slow,
}  # fmt: skip
