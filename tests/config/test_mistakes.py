"""What people are told about the mistakes that they make: place, key, what was found, what is allowed."""

from __future__ import annotations

import pytest

from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import load_config

SERVER_KEYS = (
    "allowed here: name, url, headers_file, bearer_token_file, basic_auth, tls, client_id, stall_timeout, job_timeout"
)

MISTAKES = {
    # keys
    "servers:\n  - urll: http://a\n    name: x": [
        "c.yml:2:5: servers[0].url: is required and missing",
        f'c.yml:2:5: servers[0].urll: unknown key: did you mean "url"? ({SERVER_KEYS})',
    ],
    "limits:\n  jobs: 3": [
        "c.yml:2:3: limits.jobs: unknown key (allowed here: job_series, failed_series, label_values, family_series)"
    ],
    "servers:\n  - url: https://a\n    basic_auth: {username: a, password: hunter2}": [
        "c.yml:3:5: servers[0].basic_auth.password_file: is required and missing",
        (
            "c.yml:3:31: servers[0].basic_auth.password: unknown key: "
            'did you mean "password_file"? (allowed here: username, password_file)'
        ),
    ],
    "store: {url: memory}\nstore: {}": ["c.yml:2:1: store: stands twice in one mapping, first in line 1; keep one"],
    # types
    "- url: http://a": ["c.yml:1:1: expected keys such as `poll_interval: 2s`, found a list"],
    "hello": ['c.yml:1:1: expected keys such as `poll_interval: 2s`, found "hello"'],
    "servers: http://a": ['c.yml:1:1: servers: expected a list, found "http://a"'],
    "servers:\n  - http://a": [
        (
            "c.yml:2:5: servers[0]: expected a mapping with keys such as name, url, headers_file, bearer_token_file, "
            'basic_auth, tls, client_id, stall_timeout or job_timeout, found "http://a"'
        )
    ],
    "servers: [{name: 0, url: http://a}]": [
        "c.yml:1:12: servers[0].name: expected text, found the number 0; put it in quotes"
    ],
    "servers: [{name: no, url: http://a}]": [
        (
            "c.yml:1:12: servers[0].name: expected text, found the boolean false "
            "(YAML reads yes, no, on and off as booleans too); put it in quotes"
        )
    ],
    "limits: {job_series: '5'}": [
        'c.yml:1:10: limits.job_series: expected a whole number, found "5"; allowed: 0 to 10000'
    ],
    "limits: {label_values: 0}": [
        "c.yml:1:10: limits.label_values: expected a whole number, found the number 0; allowed: 1 to 100000"
    ],
    "servers: [{url: https://a, tls: {insecure_skip_verify: 'no'}}]": [
        'c.yml:1:34: servers[0].tls.insecure_skip_verify: expected true or false, found "no"'
    ],
    # durations and sizes
    "poll_interval: 2": [
        (
            'c.yml:1:1: poll_interval: "2" is not a duration: write whole numbers with units, largest first, '
            "such as 500ms, 2s or 1h30m; did you mean 2s?; allowed: 100ms to 1h"
        )
    ],
    "poll_interval: 50ms": ['c.yml:1:1: poll_interval: found "50ms"; allowed: 100ms to 1h'],
    "poll_interval: 0": ["c.yml:1:1: poll_interval: found the number 0; allowed: 100ms to 1h"],
    "job_grace: 1ms": ['c.yml:1:1: job_grace: found "1ms"; allowed: 0, or 100ms to 1d'],
    "max_response_size: 256MB": [
        (
            'c.yml:1:1: max_response_size: "256MB" is not a size: write a whole number with B, KiB, MiB or GiB, '
            "such as 256MiB; did you mean 256MiB?"
        )
    ],
    # servers
    "servers: [{url: '127.0.0.1:8188'}]": [
        (
            'c.yml:1:12: servers[0].url: "127.0.0.1:8188" does not start with http:// or https://; '
            "did you mean http://127.0.0.1:8188?"
        )
    ],
    "servers: [{url: 'ws://gpu:8188/ws'}]": [
        (
            'c.yml:1:12: servers[0].url: "ws://gpu:8188/ws" does not start with http:// or https://; '
            "did you mean http://gpu:8188/ws? The WebSocket address follows from it"
        )
    ],
    "servers: [{url: 'http://me:hunter2@gpu:8188'}]": [
        (
            'c.yml:1:12: servers[0].url: "http://***@gpu:8188" carries credentials, which would show in logs and '
            "labels; put them into basic_auth: {username, password_file} or bearer_token_file"
        )
    ],
    "servers: [{url: 'http://gpu:99999'}]": [
        'c.yml:1:12: servers[0].url: "http://gpu:99999" is not a URL: its host or port is not valid'
    ],
    "servers: [{url: 'http://gpu/?token=x'}]": [
        ('c.yml:1:12: servers[0].url: "http://gpu/" has a query or fragment; only a path prefix may follow the host')
    ],
    "servers:\n  - {name: a, url: http://a}\n  - {name: a, url: http://b}": [
        'c.yml:3:5: servers[1]: server name "a" is taken by servers[0]; give one of them another `name`'
    ],
    "servers:\n  - url: http://a:1/x\n  - url: http://a:1/y": [
        (
            'c.yml:3:5: servers[1]: server name "a:1" (by default host:port) is taken by servers[0]; '
            "give one of them another `name`"
        )
    ],
    "servers:\n  - url: http://a\n    bearer_token_file: t\n    basic_auth: {username: a, password_file: b}": [
        (
            "c.yml:3:5: servers[0].bearer_token_file: does not go together with basic_auth: "
            "both set the header Authorization; keep one"
        )
    ],
    "servers: [{url: http://a, tls: {key_file: k}}]": [
        "c.yml:1:27: servers[0].tls: has no effect on an http:// URL; write https:// in `url`, or leave tls out",
        "c.yml:1:33: servers[0].tls.key_file: needs cert_file, the certificate that belongs to the key",
    ],
    # the rest
    "shard: 2/2": [
        'c.yml:1:1: shard: found "2/2"; allowed: i/n with 0 <= i < n <= 9999, such as 0/2 and 1/2 for two replicas'
    ],
    "job_labels: [status, a-b, __x, job_id, job, ok, ok]": [
        'c.yml:1:14: job_labels[0]: "status" is taken: the metrics have labels server, job_type, status and le already',
        (
            'c.yml:1:22: job_labels[1]: "a-b" cannot be a Prometheus label; '
            "allowed: letters, digits and underscores, no digit first"
        ),
        'c.yml:1:27: job_labels[2]: "__x" starts with __, which Prometheus keeps for itself',
        'c.yml:1:32: job_labels[3]: "job_id" differs for every job, and every row and update has it anyway',
        'c.yml:1:40: job_labels[4]: "job" is taken: Prometheus sets job and instance itself on every series',
        'c.yml:1:49: job_labels[6]: label "ok" is taken by job_labels[5]; leave one out',
    ],
    "job_labels: [a, b, c, d, e, f]": ["c.yml:1:1: job_labels: found 6 items; allowed: at most 5"],
    "failure_patterns:\n  - {pattern: OOM, title: x, regex: '('}\n  - {pattern: other, title: x, regex: x}": [
        (
            'c.yml:2:6: failure_patterns[0].pattern: found "OOM"; '
            "allowed: up to 63 of a-z, 0-9 and _, a letter first, such as cuda_oom"
        ),
        (
            'c.yml:2:30: failure_patterns[0].regex: "(" is not a regular expression as Python\'s re has them: '
            "missing ), unterminated subpattern at position 0"
        ),
        (
            'c.yml:3:6: failure_patterns[1].pattern: "other" is reserved for failures that have no pattern of '
            "their own; choose another id"
        ),
    ],
    "buckets: {job_duration: [1, 5, 5], job_queue: [], estimate: [0], step_duration: [1, .inf]}": [
        "c.yml:1:11: buckets.job_duration: 5 follows 5; allowed: strictly increasing numbers",
        "c.yml:1:36: buckets.job_queue: expected a list of numbers such as [1, 2, 5], found an empty list",
        "c.yml:1:51: buckets.estimate: found the number 0; allowed: numbers above 0",
        "c.yml:1:66: buckets.step_duration: found +Inf; leave it out, it is added by itself",
    ],
    "store: {url: 'sqlite:x.db'}": [
        'c.yml:1:9: store.url: "sqlite:x.db" has too few slashes or no path; did you mean sqlite:///x.db?'
    ],
    "store: {url: 'sqlite://x.db'}": [
        'c.yml:1:9: store.url: "sqlite://x.db" has too few slashes or no path; did you mean sqlite:///x.db?'
    ],
    "store: {url: 'postgresql://me:hunter2@db'}": [
        (
            'c.yml:1:9: store.url: "postgresql://***@db" names no database; '
            "allowed: sqlite:///PATH, postgresql://USER@HOST/DATABASE or memory"
        )
    ],
    "store: {url: jobs.db, retention: 1m}": [
        ('c.yml:1:9: store.url: found "jobs.db"; allowed: sqlite:///PATH, postgresql://USER@HOST/DATABASE or memory'),
        'c.yml:1:23: store.retention: found "1m"; allowed: 1h to 36500d',
    ],
    "webhooks: [{url: http://a, statuses: [lost]}]": [
        (
            'c.yml:1:39: webhooks[0].statuses[0]: found "lost"; allowed: unknown, initializing, queued, processing, '
            "completing, completed, failed, timeout or cancelled"
        )
    ],
    "job_types: [{job_type: a, node_types: []}]": [
        "c.yml:1:27: job_types[0].node_types: found an empty list; at least one item is needed"
    ],
    "push: {allowed_origins: [https://a/b]}": [
        'c.yml:1:26: push.allowed_origins[0]: "https://a/b" is more than an origin; did you mean https://a?'
    ],
    # YAML
    "a:\n\tb: 1": [
        (
            "c.yml:2:1: is not valid YAML: while scanning for the next token found character '\\t' that cannot start "
            "any token (YAML indents with spaces, not with tabs)"
        )
    ],
    'failure_patterns: [{regex: "\\d"}]': [
        (
            "c.yml:1:30: is not valid YAML: while scanning a double-quoted scalar found unknown escape character 'd' "
            '(write regular expressions in single quotes: inside "..." the \\ is YAML\'s own)'
        )
    ],
    "job_types: [{job_type: a, node_types: [*Save]}]": [
        "c.yml:1:40: is not valid YAML: found undefined alias 'Save' (text that starts with * needs quotes)"
    ],
    "shard: 0/1\n---\nshard: 0/1": [
        (
            "c.yml:2:1: is not valid YAML: expected a single document in the stream but found another document "
            "(the file may hold one document: remove the lines ---)"
        )
    ],
    "a: \x07": ["c.yml:1:4: the character U+0007 is not allowed in YAML"],
    "servers: &a [*a]": [
        "c.yml:1:10: servers[0]: contains itself through an alias",
        (
            "c.yml:1:10: servers[0]: expected a mapping with keys such as name, url, headers_file, bearer_token_file, "
            "basic_auth, tls, client_id, stall_timeout or job_timeout, found nothing"
        ),
    ],
    "[" * 40: ["c.yml:1:33: is not valid YAML: nested more than 32 levels deep"],
    b"shard: 0/1\n# caf\xe9": ["c.yml:2:6: is not UTF-8 text: byte 0xe9"],
    "shard: " + " " * (1 << 20): ["c.yml: is larger than 1 MiB, which no configuration needs"],
    '"a\\nb": 1': [
        (
            'c.yml:1:1: "a\\nb": unknown key (allowed here: poll_interval, request_timeout, max_response_size, '
            "servers, server_files, shard, job_types, job_labels, failure_patterns, buckets, job_grace, "
            "registration_timeout, keep_finished, max_finished, store, push, webhooks, registered_webhooks, links, "
            "limits)"
        )
    ],
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text[:40]))
def test_a_mistake_is_explained(problems_of, text):
    assert problems_of(text) == MISTAKES[text]


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(problems_of):
    (problem,) = problems_of("stall_timeout: 5m")
    assert problem.startswith("c.yml:1:1: stall_timeout: unknown key: it belongs under servers[] (allowed here: poll_")


def test_all_problems_come_at_once_in_the_order_of_the_file(problems_of):
    text = "poll_interval: 1\nservers:\n  - {name: a, url: x}\n  - {name: a, url: http://b}\nshard: 3\nshard: 4\n"
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in problems_of(text)] == [
        "c.yml:1:1 poll_interval",
        "c.yml:3:15 servers[0].url",
        "c.yml:4:5 servers[1]",
        "c.yml:5:1 shard",
        "c.yml:6:1 shard",
    ]


def test_a_bomb_of_aliases_is_refused_before_it_grows(problems_of):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert (
        problems_of("\n".join(levels))[-1] == "c.yml:1:1: holds more than 100000 values once its aliases are followed"
    )


def test_a_secret_put_where_it_does_not_belong_is_not_repeated(problems_of):
    text = (
        "servers: [{url: 'http://me:hunter/2@gpu', bearer_token: hunter2, basic_auth: {password: hunter2}}]\n"
        "store: {url: 'mysql://me:hunter2@db'}"
    )
    assert "hunter" not in "\n".join(problems_of(text))


@pytest.mark.parametrize("password", ["hunter/2", "hunter#2", "hunter?2", "hunter2@hunter/2"])
def test_a_password_that_the_driver_would_take_for_something_else_is_not_repeated(problems_of, password):
    (problem,) = problems_of(f"store: {{url: 'postgresql://me:{password}@db/x'}}")
    assert "write its / as %2F" in problem
    assert "hunter" not in problem


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yml")
    assert str(caught.value) == f"{tmp_path}/none.yml: cannot be read: No such file or directory"
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
