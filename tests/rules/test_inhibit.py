"""Inhibition as in Alertmanager: what follows from another alert is muted while that one fires."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.model import Alert
from responder.rules.inhibit import Inhibition, Sources
from responder.rules.matchers import parse

from .given import alert

DOWN = Inhibition("down", parse("alertname=NodeDown"), parse('alertname=~"Pod.*"'), ("cluster", "node"))
WORSE = Inhibition("worse", parse("severity=critical"), parse('severity=~"critical|warning"'), ("alertname",))


def firing(*alerts: Alert, inhibitions: tuple[Inhibition, ...] = (DOWN,)) -> Sources:
    sources = Sources(inhibitions)
    for each in alerts:
        sources.add(each.identity, each.labels, each.name)
    return sources


NODE = alert(alertname="NodeDown", cluster="eu", node="n1")
POD = alert(alertname="PodCrash", cluster="eu", node="n1", pod="p")


def test_a_source_mutes_its_target_while_it_fires() -> None:
    sources = firing(NODE)
    assert sources.muting(POD) == ("down", "NodeDown")
    sources.remove(NODE.identity)
    assert sources.muting(POD) is None
    assert len(sources) == 0


MUTED = {
    "equal labels differ": (NODE, alert(alertname="PodCrash", cluster="eu", node="n2"), False),
    "one equal label is missing": (NODE, alert(alertname="PodCrash", cluster="eu"), False),
    "missing on both": (alert(alertname="NodeDown"), alert(alertname="PodCrash"), True),
    "missing here, empty there": (
        alert(alertname="NodeDown", cluster=""),
        alert(alertname="PodCrash", node=""),
        True,
    ),
    "other alerts": (NODE, alert(alertname="DiskFull", cluster="eu", node="n1"), False),
    "no source": (alert(alertname="DiskFull", cluster="eu", node="n1"), POD, False),
}


@pytest.mark.parametrize(("source", "target", "wanted"), MUTED.values(), ids=MUTED)
def test_equal_labels_must_have_the_same_value(source: Alert, target: Alert, wanted: bool) -> None:
    assert (firing(source).muting(target) is not None) is wanted


def test_without_equal_labels_any_source_mutes() -> None:
    wide = Inhibition("wide", parse("alertname=NodeDown"), parse("alertname=PodCrash"))
    assert firing(NODE, inhibitions=(wide,)).muting(alert(alertname="PodCrash", cluster="us")) == ("wide", "NodeDown")


CRITICAL = alert(alertname="Disk", severity="critical", instance="a")
WARNING = alert(alertname="Disk", severity="warning", instance="b")


def test_what_matches_both_sides_is_not_muted_by_itself_or_its_like() -> None:
    other = alert(alertname="Disk", severity="critical", instance="c")
    assert firing(CRITICAL, inhibitions=(WORSE,)).muting(CRITICAL) is None
    assert firing(CRITICAL, other, inhibitions=(WORSE,)).muting(CRITICAL) is None


def test_what_matches_both_sides_still_mutes_a_mere_target() -> None:
    assert firing(CRITICAL, inhibitions=(WORSE,)).muting(WARNING) == ("worse", "Disk")


def test_what_matches_both_sides_is_muted_by_a_mere_source() -> None:
    one = Inhibition("one", parse("a=x"), parse("b=y"))
    both, mere = alert(alertname="Both", a="x", b="y"), alert(alertname="Mere", a="x")
    sources = firing(both, mere, inhibitions=(one,))
    assert sources.muting(both) == ("one", "Mere")
    sources.remove(mere.identity)
    assert sources.muting(both) is None


def test_one_of_two_sources_that_ends_unmutes_nothing() -> None:
    other = alert(alertname="NodeDown", cluster="eu", node="n1", job="other")
    sources = firing(NODE, other)
    sources.remove(NODE.identity)
    assert sources.muting(POD) == ("down", "NodeDown")


def test_a_source_that_is_added_twice_ends_once() -> None:
    sources = firing(NODE, NODE)
    sources.remove(NODE.identity)
    assert sources.muting(POD) is None


def test_what_is_no_source_is_not_kept_and_may_end() -> None:
    sources = firing(POD)
    assert len(sources) == 0
    sources.remove(POD.identity)
    sources.remove("never seen")


def test_the_first_inhibition_is_named() -> None:
    second = Inhibition("second", parse("alertname=NodeDown"), parse("pod=p"))
    assert firing(NODE, inhibitions=(DOWN, second)).muting(POD) == ("down", "NodeDown")
    assert firing(NODE, inhibitions=(second, DOWN)).muting(POD) == ("second", "NodeDown")


def test_what_has_ended_leaves_nothing_behind() -> None:
    sources = Sources((DOWN, WORSE))
    for at in range(1000):
        one = alert(alertname="NodeDown", node=str(at), severity="critical")
        sources.add(one.identity, one.labels, one.name)
        sources.remove(one.identity)
    assert sources._firing == [{}, {}]


# --- the rule of Alertmanager, word by word, over all alerts ---

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "x", "y"]), max_size=3)
MATCH = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["=", "!=", "=~"]), st.sampled_from(["x", "y", "x|y"])),
    min_size=1,
    max_size=2,
).map(lambda match: parse(",".join(f'{name}{operator}"{value}"' for name, operator, value in match)))
INHIBITIONS = st.builds(
    Inhibition, st.sampled_from(["i", "j"]), MATCH, MATCH, st.lists(st.sampled_from("abc"), max_size=2).map(tuple)
)


def mutes(inhibition: Inhibition, source: Mapping[str, str], target: Mapping[str, str]) -> bool:
    if not inhibition.is_source(source) or not inhibition.is_target(target):
        return False
    if inhibition.is_source(target) and inhibition.is_target(source):
        return False
    return all(source.get(name, "") == target.get(name, "") for name in inhibition.equal)


@given(st.lists(INHIBITIONS, max_size=3), st.lists(LABELS, max_size=5), st.lists(st.integers(0, 4), max_size=3), LABELS)
def test_what_is_muted_is_what_trying_each_pair_mutes(
    inhibitions: list[Inhibition], all_labels: list[dict[str, str]], ended: list[int], labels: dict[str, str]
) -> None:
    alerts = {each.identity: each for each in (alert(**each) for each in all_labels)}
    sources = firing(*alerts.values(), inhibitions=tuple(inhibitions))
    for identity in [identity for at, identity in enumerate(alerts) if at in ended]:
        sources.remove(identity)
        del alerts[identity]
    wanted = any(mutes(rule, each.labels, labels) for rule in inhibitions for each in alerts.values())
    assert (sources.muting(alert(**labels)) is not None) is wanted
