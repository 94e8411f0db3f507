"""What is made of a message of Alertmanager, and of what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.making import as_sent, message
from comfyui_exporter.alerts.webhook import LONGEST_LABEL, MOST_ALERTS, read_alert, read_notification, web_url


def test_an_alert_is_read_and_told_with_times_as_everywhere():
    (alert,) = read_notification(message(as_sent())).alerts
    assert alert.data() == {
        "status": "firing",
        "labels": {"alertname": "ComfyUIDown", "server": "gpu0", "severity": "critical"},
        "annotations": {"summary": "ComfyUI gpu0 does not answer"},
        "startsAt": "2026-01-01T12:00:00+00:00",
        "endsAt": None,
        "fingerprint": "0011223344556677",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
    }


def test_a_resolved_one_says_when_it_ended():
    (alert,) = read_notification(message(as_sent("resolved"))).alerts
    assert not alert.firing
    assert alert.data()["endsAt"] == "2026-01-01T12:30:00.123456+00:00"


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_what_is_told_can_be_read_back(status):
    alert = read_alert(as_sent(status))
    assert read_alert(json.loads(json.dumps(alert.data()))) == alert


def test_the_labels_alone_make_an_alert_the_same():
    one, other = as_sent(a="1", b="2"), as_sent("resolved", b="2", a="1")
    other["annotations"], other["fingerprint"] = {}, "another"
    assert read_alert(one).identity == read_alert(other).identity
    assert read_alert(one).identity != read_alert(as_sent(a="1", b="3")).identity


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"alerts": {}},
        {"alerts": None},
        message(as_sent(), version="5"),
        message(as_sent(), version=4),
        message(*[as_sent()] * (MOST_ALERTS + 1)),
    ],
)
def test_what_is_no_message_of_alertmanager_is_refused(body):
    with pytest.raises(ValueError, match=r"alerts|version"):
        read_notification(body)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "alert",
        as_sent() | {"status": "suppressed"},
        as_sent() | {"labels": {}},
        as_sent() | {"labels": None},
        as_sent() | {"labels": {"alertname": 1}},
        as_sent() | {"labels": {"alertname": {"deep": []}}},
        as_sent() | {"labels": {"": "x"}},
        as_sent() | {"labels": {"a\nb": "x"}},
        as_sent() | {"labels": {f"l{i}": "x" for i in range(65)}},
        as_sent() | {"annotations": [1]},
        as_sent() | {"annotations": {f"l{i}": "x" * 1_900 for i in range(5)}},
    ],
)
def test_an_alert_that_is_not_as_it_has_to_be_costs_only_itself(bad):
    notification = read_notification(message(bad, as_sent()))
    assert notification.unusable == 1
    assert len(notification.alerts) == 1


def test_characters_that_nobody_sees_become_spaces_and_lines_stay():
    data = as_sent(alertname="X", node="a\x00\x1b[2Jb\u202ec", name="caf\udce9", emoji="👩\u200d🔧")
    data["annotations"] = {"description": "one\ntwo\r"}
    alert = read_alert(data)
    assert alert.labels == {"alertname": "X", "node": "a  [2Jb c", "name": "caf?", "emoji": "👩\u200d🔧"}
    assert alert.annotations == {"description": "one\ntwo"}


def test_long_texts_are_cut():
    data = as_sent(alertname="X" * 5_000)
    assert len(read_alert(data).labels["alertname"]) == LONGEST_LABEL


@pytest.mark.parametrize(
    "starts", [None, 5, "", "yesterday", "9" * 100, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"]
)
def test_a_time_that_cannot_be_read_is_not_known(starts):
    assert read_alert(as_sent() | {"startsAt": starts}).starts_at is None


@pytest.mark.parametrize(
    "url",
    [None, 7, "", "javascript:alert(1)", "//x", "ftp://x", "http://a b", 'http://x/"onload=', "http://" + "x" * 3000],
)
def test_only_what_a_page_may_link_to_is_a_url(url):
    assert web_url(url) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["alerts", "status", "version", "labels"]), JSON | st.just("4")))
def test_no_body_does_any_harm(body):
    try:
        read_notification(body)
    except ValueError:
        return


@given(st.fixed_dictionaries(dict.fromkeys(["status", "labels", "annotations", "startsAt", "endsAt"], JSON)))
def test_no_alert_does_any_harm(data):
    assert read_notification({"alerts": [data, as_sent()]}).alerts
