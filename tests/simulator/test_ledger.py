"""What the ledger expects of an ideal observer follows from the truth and from what was delivered to it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_exporter.simulator.execution import failed
from comfyui_exporter.simulator.expectation import ENDS, expect, report
from comfyui_exporter.simulator.worker import run_to_end
from simulator.bench import Bench


def expected(bench, index=0):
    return expect(bench.comfy.ledger.runs[index], bench.comfy.ledger)


def end(bench, index=0):
    return expected(bench, index).end


def start(bench, **body):
    prompt_id = bench.submit(**body)
    bench.comfy.start_next()
    return prompt_id


def test_a_prompt_that_stands_in_the_queue_must_be_counted_as_submitted(bench):
    bench.submit()
    assert expected(bench).submission
    assert end(bench) is None


def test_an_entry_that_stands_must_be_counted_although_nobody_read_it_yet(bench):
    bench.run()
    assert (expected(bench).submission, end(bench)) == (True, "completed")


def test_a_prompt_that_came_and_went_unseen_cannot_be_known(bench):
    bench.run()
    bench.comfy.clear_history()
    assert expected(bench).unknowable
    assert not expected(bench).submission
    assert [row["run"] for row in report(bench.comfy.ledger)["unknowable"]] == [0]


def test_an_answer_that_was_not_delivered_shows_nothing(bench):
    bench.submit()
    bench.comfy.queue()
    bench.comfy.clear_pending()
    assert expected(bench).unknowable


def test_a_prompt_shown_pending_and_deleted_is_cancelled(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.comfy.clear_pending()
    assert (end(bench), expected(bench).accepts) == ("cancelled", ("cancelled",))


def test_an_entry_that_was_shown_counts_even_when_it_is_gone(bench):
    bench.run()
    bench.comfy.history(1).delivered()
    bench.comfy.clear_history()
    assert end(bench) == "completed"


@pytest.mark.parametrize(("seen", "expectation"), [("pending", "cancelled"), ("running", "lost")])
def test_an_entry_that_vanished_unseen_is_lost_if_the_prompt_was_shown_running_else_cancelled(bench, seen, expectation):
    prompt_id = bench.submit()
    if seen == "running":
        bench.comfy.start_next()
    bench.comfy.queue().delivered()
    run_to_end(bench.comfy) if seen == "pending" else bench.comfy.finish()
    bench.comfy.delete_history([prompt_id])
    assert end(bench) == expectation


def test_an_entry_that_vanished_with_a_restart_is_lost(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    run_to_end(bench.comfy)
    bench.comfy.restart()
    assert end(bench) == "lost"


def test_whoever_heard_a_prompt_run_may_call_it_lost(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    execution = bench.comfy.start_next()
    bench.comfy.ledger.heard(execution.item.run)
    bench.comfy.finish()
    bench.comfy.clear_history()
    assert expected(bench).accepts == ("lost", "cancelled")


@pytest.mark.parametrize("shown", [True, False])
def test_what_was_in_the_queue_when_comfyui_died_is_lost_if_it_was_shown(bench, shown):
    start(bench)
    answer = bench.comfy.queue()
    if shown:
        answer.delivered()
    bench.comfy.kill()
    assert bench.comfy.ledger.runs[0].truth == "lost"
    assert end(bench) == ("lost" if shown else None)


def test_a_deletion_that_nobody_could_tell_from_a_crash_is_lost(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.comfy.clear_pending()
    bench.comfy.restart()
    assert (end(bench), set(expected(bench).accepts)) == ("lost", {"lost", "cancelled"})


def test_a_deletion_seen_before_a_crash_is_cancelled_and_the_impatient_may_say_lost(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.comfy.clear_pending()
    bench.comfy.queue().delivered()
    bench.comfy.restart()
    assert (end(bench), set(expected(bench).accepts)) == ("cancelled", {"lost", "cancelled"})


def test_an_overwritten_entry_stands_no_more(bench):
    bench.run(prompt_id="a")
    bench.run(prompt_id="a")
    assert expected(bench, 0).unknowable
    assert end(bench, 1) == "completed"


def test_a_rerun_in_the_old_place_is_hidden_until_it_is_named(bench):
    bench.run(prompt_id="a")
    bench.run(prompt_id="b")
    bench.comfy.history().delivered()
    bench.run(prompt_id="a")
    bench.comfy.history(1).delivered()
    assert expected(bench, 2).hidden
    bench.comfy.history_one("a").delivered()
    assert not expected(bench, 2).hidden
    assert end(bench, 2) == "completed"


@pytest.mark.parametrize("named_by", ["queue", "event"])
def test_a_rerun_that_was_named_while_it_ran_is_not_hidden(bench, named_by):
    bench.run(prompt_id="a")
    bench.submit(prompt_id="a")
    execution = bench.comfy.start_next()
    if named_by == "queue":
        bench.comfy.queue().delivered()
    else:
        bench.comfy.ledger.heard(execution.item.run)
    bench.comfy.finish()
    assert not expected(bench, 1).hidden


def test_hidden_runs_are_optional_and_not_in_the_sums(bench):
    bench.run(prompt_id="a")
    bench.comfy.history().delivered()
    bench.run(prompt_id="a")
    totals = report(bench.comfy.ledger)
    assert totals["expected"]["completed"] == 1
    assert totals["optional"]["completed"] == 1


def test_what_ended_before_the_first_delivered_read_is_marked(bench):
    bench.run()
    bench.comfy.history()
    bench.run()
    bench.comfy.prompt_info().delivered()
    bench.run()
    bench.comfy.history().delivered()
    bench.run()
    runs = bench.comfy.ledger.runs
    assert [run.before_first_read for run in runs] == [True, True, False, False]
    assert [run.before_first_history for run in runs] == [True, True, True, False]
    assert report(bench.comfy.ledger)["before_first_read"]["completed"] == 2


def test_an_end_after_the_first_answer_was_made_is_not_before_it(bench):
    answer = bench.comfy.history()
    bench.run()
    answer.delivered()
    assert not bench.comfy.ledger.runs[0].before_first_read


def test_what_a_dead_observer_was_shown_long_before_counts_as_ever(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.now += 1000
    bench.comfy.ledger.observer_died(bench.now - 500)
    bench.comfy.clear_pending()
    assert (end(bench), expected(bench).optional) == ("cancelled", False)


def test_what_an_observer_was_shown_as_it_died_may_count_once_it_is_gone(bench):
    bench.submit()
    bench.now += 1000
    bench.comfy.queue().delivered()
    bench.comfy.ledger.observer_died(bench.now)
    assert not expected(bench).optional
    bench.comfy.clear_pending()
    assert (expected(bench).optional, expected(bench).accepts) == (True, ("cancelled",))
    totals = report(bench.comfy.ledger)
    assert (totals["expected"]["cancelled"], totals["optional"]["cancelled"]) == (0, 1)
    assert [row["run"] for row in totals["doubtful"]] == [0]


def test_what_the_next_observer_was_shown_as_well_is_in_no_doubt(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.comfy.ledger.observer_died(bench.now)
    bench.comfy.queue().delivered()
    bench.comfy.clear_pending()
    assert (end(bench), expected(bench).optional) == ("cancelled", False)


def test_an_end_that_stands_must_be_counted_whoever_died_after_it_was_read(bench):
    bench.run()
    bench.comfy.history(1).delivered()
    bench.comfy.ledger.observer_died(bench.now)
    assert (end(bench), expected(bench).accepts, expected(bench).optional) == ("completed", ("completed",), False)


def test_of_a_dead_observer_any_part_may_have_been_kept_but_nothing_without_what_came_before(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.comfy.start_next()
    bench.comfy.queue().delivered()
    bench.comfy.finish()
    bench.comfy.history(1).delivered()
    bench.comfy.ledger.observer_died(bench.now)
    bench.comfy.clear_history()
    assert expected(bench).optional
    assert set(expected(bench).accepts) == {"completed", "lost", "cancelled"}


def test_a_run_shown_waiting_for_sure_is_counted_as_one_of_the_ends_that_the_dead_observer_may_have_kept(bench):
    bench.submit()
    bench.comfy.queue().delivered()
    bench.now += 1000
    bench.comfy.start_next()
    bench.comfy.finish()
    bench.comfy.history(1).delivered()
    bench.comfy.ledger.observer_died(bench.now)
    bench.comfy.clear_history()
    assert not expected(bench).optional
    assert set(expected(bench).accepts) == {"completed", "cancelled"}


def test_what_a_dead_observer_left_behind_tells_what_it_was_shown_and_what_not(bench):
    for name in "ab":
        bench.submit(prompt_id=name)
    bench.comfy.queue().delivered()
    bench.comfy.ledger.observer_died(bench.now, lambda run: ["shown_pending"] if run.prompt_id == "a" else [])
    bench.comfy.clear_pending()
    assert (end(bench, 0), expected(bench, 0).optional) == ("cancelled", False)
    assert expected(bench, 1).unknowable


def test_a_rerun_that_a_dead_observer_heard_of_but_never_asked_for_may_be_hidden(bench):
    bench.run(prompt_id="a")
    bench.submit(prompt_id="a")
    bench.comfy.ledger.heard(bench.comfy.start_next().item.run)
    bench.now += 5000
    bench.comfy.ledger.observer_died(bench.now - 500)
    bench.comfy.finish()
    assert expected(bench, 1).optional


def test_what_ended_between_two_first_looks_may_count_if_the_first_observer_died_of_it(bench):
    bench.run()
    bench.comfy.history(1).delivered()
    bench.comfy.ledger.observer_died(bench.now)
    bench.run()
    bench.comfy.history(1).delivered()
    bench.now += 1000
    bench.run()
    assert [run.before_first_history for run in bench.comfy.ledger.runs] == [True, False, False]
    assert [expected(bench, index).optional for index in (1, 2)] == [True, False]


def test_a_first_look_that_was_surely_kept_is_in_no_doubt_when_the_observer_dies(bench):
    bench.run()
    bench.comfy.history(1).delivered()
    bench.comfy.ledger.first_look_kept()
    bench.comfy.ledger.observer_died(bench.now)
    bench.run()
    bench.comfy.history(1).delivered()
    assert [run.before_first_history for run in bench.comfy.ledger.runs] == [True, False]
    assert not expected(bench, 1).optional


def test_jobs_of_newer_versions_count_as_shown(make_bench):
    bench = make_bench(profile="0.8.0")
    bench.submit()
    bench.comfy.jobs({"status": "pending"}).delivered()
    bench.comfy.clear_pending()
    assert end(bench) == "cancelled"


def test_a_page_of_jobs_shows_only_what_it_lists(make_bench):
    bench = make_bench(profile="0.8.0")
    bench.submit()
    bench.now += 1
    bench.submit()
    bench.comfy.jobs({"limit": "1"}).delivered()
    assert [run.shown for run in bench.comfy.ledger.runs] == [False, True]


def test_sums_are_kept_by_job_type(bench):
    bench.run(extra_data={"job_type": "video"})
    bench.submit(extra_data={"job_type": 5})
    by_job_type = report(bench.comfy.ledger)["expected"]["by_job_type"]
    assert by_job_type["video"] == {"submitted": 1, "completed": 1, **dict.fromkeys(ENDS[1:], 0)}
    assert by_job_type["unknown"]["submitted"] == 1


_USUAL = ["submit", "start", "complete"]
_UNUSUAL = ["submit", "start", "reuse", "fail", "interrupt", "delete", "clear", "forget", "restart"]
STEPS = st.sampled_from(_USUAL + _UNUSUAL)


def step(bench, name):
    comfy = bench.comfy
    match name:
        case "submit":
            bench.submit()
        case "reuse":
            bench.submit(prompt_id="again")
        case "start":
            comfy.start_next()
        case "complete" | "fail" | "interrupt" if comfy.execution is not None:
            if name == "interrupt":
                comfy.interrupt()
            comfy.finish(failed() if name == "fail" else None)
        case "delete" if bench.pending:
            comfy.delete_pending([bench.pending[-1]])
        case "clear":
            comfy.clear_pending()
        case "forget":
            comfy.clear_history()
        case "restart":
            comfy.restart()


@settings(max_examples=150, deadline=None)
@given(names=st.lists(STEPS, max_size=40))
def test_an_observer_who_is_shown_everything_must_report_exactly_the_truth(names):
    bench = Bench(maximum_history_size=2)
    for name in names:
        step(bench, name)
        bench.comfy.queue().delivered()
        bench.comfy.history().delivered()
    for run in bench.comfy.ledger.runs:
        expectation = expect(run, bench.comfy.ledger)
        assert expectation.submission
        assert run.truth in ({"open"} if expectation.end is None else set(expectation.accepts))
        assert (expectation.end or "open") == run.truth


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(STEPS, st.booleans(), st.booleans()), max_size=40))
def test_whatever_was_shown_is_expected_and_the_rest_is_unknowable_once_it_is_gone(steps):
    bench = Bench(maximum_history_size=2)
    for name, show_queue, show_history in steps:
        step(bench, name)
        if show_queue:
            bench.comfy.queue().delivered()
        if show_history:
            bench.comfy.history(1).delivered()
    totals = report(bench.comfy.ledger)
    assert totals["totals"]["submitted"] == sum(totals["totals"][key] for key in ("open", *ENDS))
    for run in bench.comfy.ledger.runs:
        expectation = expect(run, bench.comfy.ledger)
        assert expectation.submission == (run.shown or run.place != "gone") != expectation.unknowable
        assert expectation.end is None or expectation.end in expectation.accepts
        assert run.truth == "open" or expectation.end is not None or expectation.unknowable
