"""Alertmanager's inhibition: while one alert fires, others that only follow from it are muted.

Source: https://prometheus.io/docs/alerting/latest/configuration/#inhibition-related-settings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from responder.model import Alert
from responder.rules.index import Index
from responder.rules.matchers import Matcher


@dataclass(frozen=True, slots=True)
class Inhibition:
    """A firing alert that matches `source` mutes those that match `target` and have the same values of `equal`.

    A label that is missing has the value "", for it as for its fellow.
    """

    name: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def is_source(self, labels: Mapping[str, str]) -> bool:
        """Say whether an alert with these labels mutes others."""
        return all(matcher.matches(labels) for matcher in self.source)

    def is_target(self, labels: Mapping[str, str]) -> bool:
        """Say whether an alert with these labels may be muted."""
        return all(matcher.matches(labels) for matcher in self.target)


_Values = tuple[str, ...]  # of the labels in `equal`


@dataclass(slots=True)
class _Firing:
    """The sources of one inhibition that share the values of its `equal` labels: identity -> the alert's name."""

    one_sided: dict[str, str] = field(default_factory=dict)
    both_sided: dict[str, str] = field(default_factory=dict)  # they match the target side too


class Sources:
    """The firing alerts that mute others. One worker owns it: it keeps no lock, and holds nothing over a restart.

    Its owner adds every alert that fires, muted or not: in Alertmanager too a muted alert mutes.
    """

    def __init__(self, inhibitions: Sequence[Inhibition]) -> None:
        """Begin with nothing firing."""
        self._inhibitions = tuple(inhibitions)
        self._by_source = Index([each.source for each in self._inhibitions])
        self._by_target = Index([each.target for each in self._inhibitions])
        self._firing: list[dict[_Values, _Firing]] = [{} for _ in self._inhibitions]
        self._places: dict[str, list[tuple[int, _Values]]] = {}  # identity -> where it stands

    def __len__(self) -> int:
        """Say how many alerts are kept: those that match no source are not."""
        return len(self._places)

    def __contains__(self, identity: str) -> bool:
        """Say whether this alert is kept."""
        return identity in self._places

    def add(self, identity: str, labels: Mapping[str, str], name: str) -> None:
        """Note that an alert fires; once more changes nothing."""
        if not self._inhibitions or identity in self._places:
            return
        places = []
        for at in self._by_source.matches(labels):
            inhibition = self._inhibitions[at]
            values = _values(inhibition, labels)
            firing = self._firing[at].setdefault(values, _Firing())
            (firing.both_sided if inhibition.is_target(labels) else firing.one_sided)[identity] = name
            places.append((at, values))
        if places:
            self._places[identity] = places

    def remove(self, identity: str) -> None:
        """Note that an alert fires no more; what is not known is no mistake."""
        for at, values in self._places.pop(identity, ()):
            firing = self._firing[at][values]
            firing.one_sided.pop(identity, None)
            firing.both_sided.pop(identity, None)
            if not firing.one_sided and not firing.both_sided:
                del self._firing[at][values]

    def muting(self, alert: Alert) -> tuple[str, str] | None:
        """Give what mutes an alert: the first inhibition, and the name of the source that was added first.

        An alert that matches both sides is not muted by one that does so as well, itself among them.
        """
        for at in self._by_target.matches(alert.labels):
            inhibition = self._inhibitions[at]
            firing = self._firing[at].get(_values(inhibition, alert.labels))
            if firing is None:
                continue
            if firing.one_sided:
                return inhibition.name, next(iter(firing.one_sided.values()))
            if not inhibition.is_source(alert.labels):
                return inhibition.name, next(iter(firing.both_sided.values()))
        return None


def _values(inhibition: Inhibition, labels: Mapping[str, str]) -> _Values:
    return tuple(labels.get(name, "") for name in inhibition.equal)
