"""What people get to read: the examples, run by a real Alertmanager, with local receivers in place of the services."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import quote_plus

import pytest

from alertmanager.configs import EXAMPLES, integration, read
from alertmanager.programs import firing, resolved, version
from alertmanager.receivers import mail_server

NASTY = "a/b?<!channel> *x* [y](http://evil) `z` & \u202e@everyone"

FAILED = firing(
    "ComfyUIFailurePattern",
    server="gpu0",
    severity="critical",
    job_type="video",
    pattern="cuda_oom",
    prompt_id="3f2a-91",
)
SLOW = [firing("ComfyUISlowGeneration", server=f"gpu{number:02}", job_type="image") for number in range(13)]


def nasty():
    """An alert with what a submitter could bring into it."""
    alert = firing("ComfyUIJobStalled", server="gpu0", job_type=NASTY, prompt_id=NASTY)
    alert["annotations"]["description"] = f"Line one <b>bold</b>\n\nline two {NASTY} {'long ' * 500}"
    alert["annotations"]["dashboard_url"] = "javascript:alert(1)"
    alert["annotations"]["runbook_url"] = "docs/runbooks/ComfyUIJobStalled.md"
    return alert


@pytest.fixture
def secret(tmp_path):
    """Write a secret into a file, as `echo` does."""

    def write(text, end="\n"):
        file = tmp_path / "secret"
        file.write_text(f"{text}{end}")
        return str(file)

    return write


def of(*path):
    """Whether a call came to this path."""
    return lambda call: call[0] in path


@pytest.fixture
async def slack(start, receiver, secret):
    config = read(EXAMPLES["slack"])
    for name in ("slack", "slack-info"):
        integration(config, name)["api_url_file"] = secret(f"{receiver.url}/services/T0/B0/secret")
    integration(config, "exporter-inbox")["url"] = f"{receiver.url}/inbox"
    return await start(config)


async def told_by(receiver, path):
    return (await receiver.calls.find(of(path)))[2]


SLACK = "/services/T0/B0/secret"


async def test_slack_is_told_what_happened_where_to_look_and_what_to_do(slack, receiver):
    await slack.post(FAILED)
    body = await told_by(receiver, SLACK)
    assert body["channel"] == "#comfyui"
    (attachment,) = body["attachments"]
    assert attachment["title"] == attachment["fallback"] == "FIRING (1): ComfyUIFailurePattern on gpu0"
    assert attachment["title_link"].startswith("http")
    assert attachment["color"] == "danger"
    assert "text" in attachment["mrkdwn_in"]
    assert attachment["text"] == (
        "ComfyUIFailurePattern happens.\n"
        "\n"
        "*gpu0* · video · cuda_oom · prompt `3f2a-91`\n"
        "It happens on gpu0.\n"
        "<http://127.0.0.1:9188/api/v1/jobs/3f2a-91|Job> <http://127.0.0.1:3000/d/x?var-server=gpu0|Dashboard>\n"
        "\n"
        "<https://runbooks.example/ComfyUIFailurePattern.md|Runbook>"
    )


async def test_slack_is_told_of_many_servers_in_one_bounded_message(slack, receiver):
    await slack.post(*SLOW)
    (attachment,) = (await told_by(receiver, SLACK))["attachments"]
    assert attachment["title"] == ("FIRING (13): ComfyUISlowGeneration on gpu00, gpu01, gpu02, gpu03, gpu04 and 8 more")
    assert attachment["color"] == "warning"
    assert len(re.findall(r"^\*gpu\d\d\* · image$", attachment["text"], re.MULTILINE)) == 10
    assert "<http://127.0.0.1:9188/api/v1/jobs?status=failed&server=gpu09|Failed jobs>" in attachment["text"]
    assert "\nand 3 more\n" in attachment["text"]


async def test_nothing_that_a_submitter_wrote_is_markup_in_slack(slack, receiver):
    await slack.post(nasty())
    (attachment,) = (await told_by(receiver, SLACK))["attachments"]
    text = attachment["text"]
    (link,) = re.findall(r"<[^>]*>", text)
    assert link == f"<http://127.0.0.1:9188/api/v1/jobs/{quote_plus(NASTY)}|Job>"
    assert "&lt;b&gt;bold&lt;/b&gt; line two" in text
    assert text.count("*") == text.count("`") == 2
    assert "Runbook: docs/runbooks/ComfyUIJobStalled.md" in text
    assert len(text) < 1_500


async def test_slack_is_told_what_is_over_and_of_single_failed_jobs_not(slack, receiver):
    await slack.post(SLOW[0], SLOW[1])
    await told_by(receiver, SLACK)
    await slack.post(resolved(SLOW[0]))
    partly = await receiver.body(lambda body: "Resolved" in str(body.get("attachments")))
    assert partly["attachments"][0]["title"] == "FIRING (1): ComfyUISlowGeneration on gpu01"
    assert "\nResolved: 1 on gpu00\n" in partly["attachments"][0]["text"]
    await slack.post(resolved(SLOW[1]))
    over = await receiver.body(lambda body: "RESOLVED" in str(body.get("attachments")))
    assert over["attachments"][0]["title"] == "RESOLVED: ComfyUISlowGeneration on gpu01"
    assert over["attachments"][0]["color"] == "good"

    failed = firing("ComfyUIJobFailed", server="gpu0", severity="info", prompt_id="p")
    await slack.post(failed)
    body = await receiver.body(lambda body: "ComfyUIJobFailed" in str(body.get("attachments")))
    assert body["attachments"][0]["color"] == "#439fe0"
    await slack.post(resolved(failed))
    # The inbox is told that it is over; the channel was told of everything before.
    await receiver.body(lambda body: body.get("status") == "resolved" and "ComfyUIJobFailed" in str(body))
    titles = [call[2]["attachments"][0]["title"] for call in receiver.calls if call[0] == SLACK]
    assert "RESOLVED: ComfyUIJobFailed on gpu0" not in titles


@pytest.fixture
async def discord(start, receiver, secret):
    config = read(EXAMPLES["discord"])
    url = f"{receiver.url}/api/webhooks/1/secret"
    for name in ("discord", "discord-info"):
        settings = integration(config, name)
        if version() >= (0, 26):
            settings["webhook_url_file"] = secret(url)
        else:
            settings["webhook_url"] = url
            del settings["webhook_url_file"]
    integration(config, "exporter-inbox")["url"] = f"{receiver.url}/inbox"
    return await start(config)


DISCORD = "/api/webhooks/1/secret"


async def test_discord_is_told_what_happened_where_to_look_and_what_to_do(discord, receiver):
    await discord.post(FAILED)
    (embed,) = (await told_by(receiver, DISCORD))["embeds"]
    assert embed["title"] == "FIRING (1): ComfyUIFailurePattern on gpu0"
    assert embed["description"] == (
        "ComfyUIFailurePattern happens.\n"
        "\n"
        "**gpu0** · video · cuda\\_oom · prompt 3f2a\\-91\n"
        "It happens on gpu0.\n"
        "[Job](http://127.0.0.1:9188/api/v1/jobs/3f2a-91) [Dashboard](http://127.0.0.1:3000/d/x?var-server=gpu0)\n"
        "\n"
        "[Runbook](https://runbooks.example/ComfyUIFailurePattern.md)"
    )


async def test_discord_is_told_of_many_servers_within_its_limits(discord, receiver):
    long = {"description": "x " * 2_000}
    await discord.post(*({**alert, "annotations": alert["annotations"] | long} for alert in SLOW))
    body = await receiver.body(lambda body: "embeds" in body and "13" in body["embeds"][0]["title"])
    (embed,) = body["embeds"]
    assert len(embed["title"]) <= 256
    assert len(embed["description"]) <= 4_096
    assert "and 8 more" in embed["description"]
    assert embed["description"].endswith(")")


async def test_nothing_that_a_submitter_wrote_is_markup_in_discord(discord, receiver):
    await discord.post(nasty())
    (embed,) = (await told_by(receiver, DISCORD))["embeds"]
    plain = re.sub(r"\\.", "", embed["description"])
    assert re.findall(r"\[(.*?)\]\(", plain) == ["Job"]
    assert plain.count("*") == 4
    assert not re.search(r"[<>@`]", plain)


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
async def mailing(start, receiver, secret):
    async with mail_server() as mail:
        config = read(EXAMPLES["email"])
        config["global"] |= {
            "smtp_smarthost": mail.address,
            # Alertmanager 0.25 takes a line break for a part of it, as the example says.
            "smtp_auth_password_file": secret("hunter2", end=""),
            "smtp_require_tls": False,
        }
        integration(config, "exporter-inbox")["url"] = f"{receiver.url}/inbox"
        yield await start(config), mail


def parts(letter):
    return letter.get_body(["plain"]).get_content(), letter.get_body(["html"]).get_content()


async def test_a_letter_says_the_same_as_text_and_as_a_page(mailing):
    alertmanager, mail = mailing
    await alertmanager.post(FAILED)
    letter = await mail.letters.find()
    assert mail.login == ["ALERTMANAGER@EXAMPLE.ORG", "hunter2"]
    assert letter["Subject"] == "FIRING (1): ComfyUIFailurePattern on gpu0"
    assert letter["To"] == "OPERATORS@EXAMPLE.ORG"
    text, html = parts(letter)
    for line in (
        "ComfyUIFailurePattern happens.",
        "gpu0 · video · cuda_oom · prompt 3f2a-91",
        "  It happens on gpu0.",
        "  Job: http://127.0.0.1:9188/api/v1/jobs/3f2a-91",
        "  Dashboard: http://127.0.0.1:3000/d/x?var-server=gpu0",
        "Runbook: https://runbooks.example/ComfyUIFailurePattern.md",
    ):
        assert line in text.splitlines()
    page = Page(html)
    assert "gpu0 · video · cuda_oom · prompt 3f2a-91" in page.text
    assert page.links[:3] == [
        "http://127.0.0.1:9188/api/v1/jobs/3f2a-91",
        "http://127.0.0.1:3000/d/x?var-server=gpu0",
        "https://runbooks.example/ComfyUIFailurePattern.md",
    ]


async def test_nothing_that_a_submitter_wrote_is_markup_or_a_header_in_a_letter(mailing):
    alertmanager, mail = mailing
    alert = nasty()
    alert["labels"]["server"] = "gpu0\r\nBcc: everybody@evil.example"
    await alertmanager.post(alert)
    letter = await mail.letters.find()
    assert letter["Bcc"] is None
    _, html = parts(letter)
    page = Page(html)
    assert "b" not in page.tags
    assert "line two" in page.text
    assert not any(link.startswith("javascript") for link in page.links)


async def test_a_letter_of_many_is_bounded_and_of_single_failed_jobs_there_is_none(mailing, receiver):
    alertmanager, mail = mailing
    await alertmanager.post(firing("ComfyUIJobFailed", server="gpu0", severity="info", prompt_id="p"))
    await receiver.body(lambda body: "ComfyUIJobFailed" in str(body))
    await alertmanager.post(*SLOW)
    letter = await mail.letters.find()
    text, html = parts(letter)
    assert "FIRING (13)" in letter["Subject"]
    assert "and 3 more" in text.splitlines()
    assert "and 3 more" in Page(html).text
    assert len(mail.letters) == 1


async def test_pagerduty_gets_an_event_that_it_takes(start, receiver, secret):
    config = read(EXAMPLES["pagerduty"])
    config["global"] = {"pagerduty_url": f"{receiver.url}/v2/enqueue"}
    integration(config, "pagerduty")["routing_key_file"] = secret("0123456789abcdef0123456789abcdef")
    integration(config, "exporter-inbox")["url"] = f"{receiver.url}/inbox"
    alertmanager = await start(config)
    await alertmanager.post(FAILED)
    event = await told_by(receiver, "/v2/enqueue")
    assert event["routing_key"] == "0123456789abcdef0123456789abcdef"
    assert event["event_action"] == "trigger"
    assert event["dedup_key"]
    payload = event["payload"]
    assert payload["summary"] == "FIRING (1): ComfyUIFailurePattern on gpu0"
    assert payload["severity"] == "critical"
    assert payload["source"]
    assert (payload["class"], payload["component"], payload["group"]) == ("ComfyUIFailurePattern", "ComfyUI", "comfyui")
    details = payload["custom_details"]
    assert details["summary"] == "ComfyUIFailurePattern happens."
    assert details["runbook"] == "https://runbooks.example/ComfyUIFailurePattern.md"
    assert "gpu0 · video · cuda_oom · prompt 3f2a-91" in details["alerts"]
    await alertmanager.post(resolved(FAILED))
    over = await receiver.body(lambda body: body.get("event_action") == "resolve")
    assert over["dedup_key"] == event["dedup_key"]


async def test_a_program_gets_json_and_a_token_from_a_file(start, receiver, secret):
    config = read(EXAMPLES["webhook"])
    settings = integration(config, "webhook")
    settings["url"] = f"{receiver.url}/alerts"
    settings["http_config"]["authorization"]["credentials_file"] = secret("t0ken")
    integration(config, "exporter-inbox")["url"] = f"{receiver.url}/inbox"
    alertmanager = await start(config)
    await alertmanager.post(FAILED)
    _, headers, body = await receiver.calls.find(of("/alerts"))
    assert headers["Authorization"] == "Bearer t0ken"
    assert body["alerts"][0]["labels"] == FAILED["labels"]
    assert (await told_by(receiver, "/inbox"))["alerts"] == body["alerts"]
