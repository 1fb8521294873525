"""Our metrics without a store: closed label sets, zero from the start, and the sum that must be 0."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from responder.metrics import MAX_RULES, WEBHOOK_OUTCOMES, Metrics, unaccounted


def metrics(**more: list[str]) -> Metrics:
    given = {
        "receivers": ["am"],
        "chats": ["slack"],
        "tools": ["t"],
        "models": ["m"],
        "rules": ["a", "backstop"],
        **more,
    }
    return Metrics(**given, version="1.2.3")


def series(of: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = generate_latest(of.registry).decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    found = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
    assert len(found) == len(samples), "a series stands twice"
    return found


def test_all_series_are_there_at_zero_and_use_makes_no_more() -> None:
    given = metrics()
    before = series(given)
    assert {value for (name, _), value in before.items() if name != "responder_build_info"} == {0.0}
    for outcome in WEBHOOK_OUTCOMES:
        given.webhook("am", outcome)
    given.ack.labels("P1").observe(3)
    given.figures = {("rule_hits", "a"): 5.0, ("alerts", "am/firing"): 2.0, ("alerts", "stranger/firing"): 9.0}
    assert set(series(given)) == set(before)


def test_names_begin_with_ours_and_no_series_says_when_it_was_made() -> None:
    names = {name for name, _ in series(metrics())}
    assert all(name.startswith("responder_") for name in names)
    assert not any(name.endswith("_created") for name in names)


def test_what_came_in_and_is_nowhere_is_unaccounted() -> None:
    figures = {
        ("entries", ""): 10.0,
        ("taken", ""): 5.0,
        ("quarantined_entries", ""): 2.0,
        ("quarantined", ""): 7.0,
    }
    assert unaccounted(figures) == 3.0
    assert unaccounted({}) == 0.0
    given = metrics()
    given.figures = figures
    assert series(given)["responder_unaccounted_alerts", frozenset()] == 3.0


def test_hits_of_rules_that_are_gone_or_too_many_are_summed_as_other() -> None:
    many = [f"r{n}" for n in range(MAX_RULES + 5)]
    given = metrics(rules=many)
    given.figures = {("rule_hits", name): 1.0 for name in [*many, "gone"]}
    hits = {labels: n for (name, labels), n in series(given).items() if name == "responder_rule_hits_total"}
    assert len(hits) == MAX_RULES + 1
    assert hits[frozenset({("rule", "other")})] == 6.0


def test_a_rule_named_other_makes_no_series_twice() -> None:
    given = metrics(rules=["other", "a"])
    given.figures = {("rule_hits", "other"): 3.0, ("rule_hits", "gone"): 2.0}
    assert series(given)["responder_rule_hits_total", frozenset({("rule", "other")})] == 5.0


def test_an_age_is_zero_when_nothing_waits_and_never_negative() -> None:
    given = metrics()
    given.now = 100.0
    assert series(given)["responder_inbox_age_seconds", frozenset()] == 0
    given.figures = {("waiting_since", ""): 40.0, ("posts_since", ""): 400.0}
    assert series(given)["responder_inbox_age_seconds", frozenset()] == 60
    assert series(given)["responder_outbox_age_seconds", frozenset()] == 0


def test_odd_names_in_the_settings_break_no_line() -> None:
    given = metrics(rules=['a"} 1\n# HELP x', "b\\"], receivers=["am"], tools=['t"\n'])
    assert len({labels for (name, labels) in series(given) if name == "responder_rule_hits_total"}) == 3
