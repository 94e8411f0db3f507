"""How the programs of the pages are called, and what they say then: many of them only define something."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from comfyui_exporter.simulator.workflows import image

_WORKFLOW = repr(image(Random(5)).graph)
_JSON = json.dumps(image(Random(6)).graph)

_SUBMIT = f"""
import asyncio, logging, os, aiohttp


async def beside(follow):
    '''Submit what is followed, as soon as ComfyUI is watched.'''
    watched = asyncio.Event()
    handler = logging.Handler()
    handler.emit = lambda record: watched.set()
    logger = logging.getLogger("comfyui_exporter")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    following = asyncio.create_task(follow())
    await watched.wait()
    body = {{"prompt": {_WORKFLOW}, "prompt_id": "the prompt_id"}}
    async with aiohttp.ClientSession() as session:
        await session.post(os.environ["COMFYUI_URL"] + "/prompt", json=body)
    return await following


"""

_HOME_GROWN = """
import os


class Saved(Exception):
    pass


class Database:
    async def save(self, job_id, status, percent):
        print("saved", job_id, status, percent)
        raise Saved


async def main():
    monitor = HomeGrownMonitor(os.environ["COMFYUI_URL"], Database())
    monitor.monitor_job(123, "PROMPT_ID")
    await monitor.run()


try:
    asyncio.run(main())
except Saved:
    pass
"""


@dataclass(frozen=True, slots=True)
class Driver:
    """What is added at the end of a program, and a pattern of what it prints."""

    code: str
    says: str
    node: bool = False
    """It is for Node.js, and not for a browser."""


DRIVERS = {
    ("docs/connect.md", 0): Driver(f"print(submit({_WORKFLOW}, 7))", r"^[0-9a-f-]{36}$"),
    ("docs/connect.md", 1): Driver(f"submit({_JSON}, 8).then(console.log);", r"^[0-9a-f-]{36}$", node=True),
    ("docs/connect.md", 2): Driver("", "^completed 100"),
    ("docs/connect.md", 3): Driver("", "completed 100.0"),
    ("docs/connect.md", 4): Driver(f"print(asyncio.run(generate({_WORKFLOW}, 9)).status)", r"\ncompleted"),
    ("docs/library.md", 0): Driver(f"print(asyncio.run(generate({_WORKFLOW})).status)", r" 100.0\ncompleted"),
    ("docs/library.md", 1): Driver(_SUBMIT + "print(asyncio.run(beside(watch)).status)", "completed"),
    ("docs/library.md", 2): Driver("print(text.decode())", "comfyui_exporter_sink_errors_total"),
    ("docs/migration.md", 0): Driver(_HOME_GROWN, "saved 123 completed 100$"),
    ("docs/migration.md", 1): Driver(f"print(asyncio.run(main({_WORKFLOW})).status)", "save 123 completed 100 None"),
    ("docs/push.md", 0): Driver("", r"^completed 100"),
    ("docs/push.md", 1): Driver("", r"completed 100"),
    ("docs/webhooks.md", 0): Driver(
        "body = b'{}'\n"
        "moment = str(int(time.time()))\n"
        "mac = hmac.digest(b'key', f'msg_1.{moment}.'.encode() + body, 'sha256')\n"
        "headers = {'webhook-id': 'msg_1', 'webhook-timestamp': moment,\n"
        "           'webhook-signature': 'v1,' + base64.b64encode(mac).decode()}\n"
        "print(is_genuine('key', headers, body), is_genuine('other', headers, body))",
        "True False",
    ),
    ("docs/webhooks.md", 1): Driver(
        "const body = Buffer.from('{}');\n"
        "const moment = String(Math.floor(Date.now() / 1000));\n"
        "const mac = createHmac('sha256', 'key').update(`msg_1.${moment}.{}`).digest('base64');\n"
        "const headers = {'webhook-id': 'msg_1', 'webhook-timestamp': moment, 'webhook-signature': `v1,${mac}`};\n"
        "console.log(isGenuine('key', headers, body), isGenuine('other', headers, body));",
        "true false",
        node=True,
    ),
}
"""By the page, and the place of the program among those of the page."""

SYNTAX_ONLY = {
    ("docs/push.md", 2): "two ways to write one line; tests/push connects in both",
}
"""Programs that are only parsed, and why."""
