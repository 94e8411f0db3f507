"""Which alerts fire, whatever order their messages come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.making import HALF_PAST, NOON, ONE, alert
from comfyui_exporter.alerts.book import FORGET_AFTER, LATE, AlertBook


class Book(AlertBook):
    """A book with a clock to move, that notes what it tells."""

    def __init__(self, **options):
        self.time = 1_000.0
        self.told = []
        super().__init__(lambda: self.time, **options)
        self.add_reader(lambda each, at: self.told.append((each.data()["status"], each.labels["alertname"])))

    @property
    def names(self):
        return [kept.alert.labels["alertname"] for kept in self.firing]


@pytest.fixture
def book():
    return Book()


def test_an_alert_fires_until_it_is_resolved(book):
    assert book.take(alert())
    assert book.names == ["ComfyUIDown"]
    assert book.take(alert("resolved"))
    assert book.names == []
    assert book.told == [("firing", "ComfyUIDown"), ("resolved", "ComfyUIDown")]


def test_that_it_is_resolved_is_told_once(book):
    book.take(alert())
    for _ in range(3):
        book.take(alert("resolved"))
    assert [status for status, _ in book.told] == ["firing", "resolved"]


def test_of_one_that_nobody_saw_firing_nobody_is_told_that_it_is_resolved(book):
    assert not book.take(alert("resolved"))
    assert book.told == []


def test_the_newest_word_holds(book):
    book.take(alert())
    book.time += 300
    book.take(alert())
    (kept,) = book.firing
    assert kept.heard_at == book.time


def test_what_is_not_repeated_is_over(book):
    book.take(alert())
    book.time += FORGET_AFTER - 1
    book.forget()
    assert book.names == ["ComfyUIDown"]
    book.time += 1
    book.forget()
    book.forget()
    assert book.names == []
    assert [status for status, _ in book.told] == ["firing", "resolved"]


def test_of_what_was_not_repeated_nobody_says_when_it_ended(book):
    told = []
    book.add_reader(lambda each, at: told.append(each))
    book.take(alert())
    book.time += FORGET_AFTER
    book.forget()
    assert told[-1].data()["endsAt"] is None


def test_what_was_forgotten_is_shown_again_when_it_is_heard_of(book):
    book.take(alert())
    book.time += FORGET_AFTER
    book.forget()
    assert book.take(alert())
    assert book.names == ["ComfyUIDown"]


def test_a_message_from_before_the_end_does_not_bring_it_back(book):
    book.take(alert())
    book.take(alert("resolved", ends=HALF_PAST))
    assert not book.take(alert())
    assert book.names == []


def test_the_end_that_overtook_its_beginning_holds(book):
    book.take(alert("resolved", ends=HALF_PAST))
    assert not book.take(alert())
    assert book.names == []


def test_it_fires_anew_at_once_if_it_began_after_that_end(book):
    book.take(alert())
    book.take(alert("resolved", ends=HALF_PAST))
    assert book.take(alert(starts=ONE))
    assert book.names == ["ComfyUIDown"]


def test_the_end_of_an_earlier_time_does_not_end_a_later_one(book):
    book.take(alert(starts=ONE))
    assert not book.take(alert("resolved", starts=NOON, ends=HALF_PAST))
    assert book.names == ["ComfyUIDown"]


def test_what_another_alertmanager_goes_on_to_repeat_is_shown(book):
    book.take(alert())
    book.take(alert("resolved", ends=HALF_PAST))
    book.time += LATE
    assert book.take(alert())
    assert book.names == ["ComfyUIDown"]


def test_the_watchdog_is_not_shown(book):
    assert not book.take(alert(alertname="Watchdog", severity="info"))
    assert book.names == book.told == []


def test_so_many_are_kept_and_further_ones_are_not_and_that_is_said_once(caplog):
    book = Book(most=2)
    for name in ("a", "b", "c", "d", "a"):
        book.take(alert(alertname=name))
    assert book.names == ["a", "b"]
    assert [record.message for record in caplog.records] == ["too many alerts fire, further ones are not shown"]
    book.take(alert("resolved", alertname="a"))
    assert book.take(alert(alertname="c"))
    assert book.names == ["b", "c"]


def test_ends_are_not_remembered_for_ever():
    book = Book(most=10)
    for number in range(100):
        book.take(alert("resolved", alertname=str(number)))
    assert len(book._ended) <= 11
    book.time += LATE
    book.take(alert())
    assert not book._ended


def test_a_restored_alert_goes_on_from_when_it_was_heard_of(book):
    book.restore(alert(), book.time - FORGET_AFTER + 10)
    assert book.told == [("firing", "ComfyUIDown")]
    book.time += 10
    book.forget()
    assert book.names == []


def test_of_two_ends_the_later_one_holds(book):
    book.take(alert("resolved", starts=ONE, ends="2026-01-01T14:00:00Z"))
    book.take(alert("resolved", ends=HALF_PAST))
    assert not book.take(alert(starts=ONE))


EPISODES = [alert(), alert("resolved", ends=HALF_PAST), alert(starts=ONE)]


@given(st.lists(st.sampled_from(EPISODES), max_size=12), st.permutations(EPISODES))
def test_in_whatever_order_and_however_often_messages_come_the_last_episode_holds(before, after):
    book = Book()
    for each in (*before, *after):
        book.take(each)
    assert book.names == ["ComfyUIDown"]
    # Whoever is told in turn knows the same.
    assert book.told[-1][0] == "firing"


@given(st.lists(st.sampled_from(EPISODES[:2])))
def test_once_resolved_no_copy_of_its_messages_brings_it_back(messages):
    book = Book()
    for each in (*messages, EPISODES[1], *messages):
        book.take(each)
    assert book.names == []
