"""What stands in a message: a CloudWatch alarm, an event of EventBridge, other JSON, or text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from yarl import URL

from responder.bodies import as_text, moment, read_json, word
from responder.model import Alert, identify

UNNAMED = "SNS message"
NO_DATA = "INSUFFICIENT_DATA"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says. `key` names the alarm for ever; `firing` is None where it says neither: there is no data."""

    key: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    firing: bool | None
    at: datetime | None
    url: str = ""

    def alert(self, source: str, received_at: datetime) -> Alert:
        """Make the alert: its time is when it began to fire, or when it ended."""
        firing = self.firing is not False
        return Alert(
            source=source,
            identity=identify(source, self.key),
            labels=self.labels,
            annotations=self.annotations,
            firing=firing,
            received_at=received_at,
            started_at=self.at if firing else None,
            ended_at=None if firing else self.at,
            generator_url=self.url[:2000],
        )


def read_message(topic: str, subject: str, message: object, published_at: datetime | None) -> Said:
    """Give what the `Message` of an envelope says, or a raw one. Raises: TypeError, AttributeError: it is malformed."""
    inner = _inner(message)
    said = None
    if isinstance(inner, dict):
        said = _cloudwatch(inner) or _event(inner)
    return said or _other(topic, subject, inner, published_at)


def _cloudwatch(message: Json) -> Said | None:
    """Read an alarm as CloudWatch publishes it, or as EventBridge does; None for anything else."""
    if "AlarmName" in message and "NewStateValue" in message:
        return _alarm(message, message, word(message["NewStateValue"]), word(message.get("OldStateValue")),
                      moment(message.get("StateChangeTime")))  # fmt: skip
    detail = message.get("detail")
    if message.get("source") != "aws.cloudwatch" or not isinstance(detail, dict) or "alarmName" not in detail:
        return None
    state, before = _object(detail.get("state")), _object(detail.get("previousState"))
    resources = message.get("resources")
    metrics = _object(detail.get("configuration")).get("metrics")
    configuration = _object(detail.get("configuration"))
    as_published = {
        "AlarmName": detail["alarmName"],
        "AlarmArn": resources[0] if isinstance(resources, list) and resources else "",
        "AlarmDescription": configuration.get("description"),
        "AWSAccountId": message.get("account"),
        "NewStateReason": state.get("reason"),
        "AlarmRule": configuration.get("alarmRule"),
        "Trigger": {"Metrics": metrics},
    }
    at = moment(state.get("timestamp")) or moment(message.get("time"))
    return _alarm(as_published, message, word(state.get("value")), word(before.get("value")), at)


def _alarm(alarm: Json, message: Json, state: str, before: str, at: datetime | None) -> Said:
    arn, name = word(alarm.get("AlarmArn")), as_text(alarm["AlarmName"])
    region = arn.split(":")[3] if arn.count(":") > 3 else word(message.get("region"))  # noqa: PLR2004 - arn:aws:cloudwatch:REGION
    account = as_text(alarm.get("AWSAccountId"))
    trigger = _object(alarm.get("Trigger"))
    labels = _filled(alertname=name, region=region, account=account, state=state) | _metric(trigger)
    said = _filled(
        summary=alarm.get("NewStateReason"),
        description=alarm.get("AlarmDescription"),
        threshold=trigger.get("Threshold"),
        comparison=trigger.get("ComparisonOperator"),
        alarm_rule=alarm.get("AlarmRule"),
        was=before,
    )
    key = {"arn": arn} if arn else {"name": name, "account": account, "region": as_text(alarm.get("Region"))}
    firing = None if state == NO_DATA and before != "ALARM" else state != "OK"  # from ALARM to no data: still firing
    return Said(key, labels, said, firing, at, _console(arn, region, name))


def _metric(trigger: Json) -> dict[str, str]:
    """Give namespace, metric and dimensions: of the alarm, or of the first metric of its formula."""
    metrics = trigger.get("Metrics")
    each_of = [_object(each) for each in metrics] if isinstance(metrics, list) else []
    stats = [_object(each.get("MetricStat", each.get("metricStat"))) for each in each_of]
    stat = next(filter(None, stats), {})
    metric = _object(stat.get("Metric") or stat.get("metric")) or trigger
    dimensions = metric.get("Dimensions", metric.get("dimensions"))
    return _filled(
        namespace=metric.get("Namespace", metric.get("namespace")), metric=metric.get("MetricName", metric.get("name"))
    ) | _dimensions(dimensions)


def _dimensions(value: object) -> dict[str, str]:
    """Read [{"name": str, "value": str}] or {name: value}."""
    if isinstance(value, dict):
        return {f"dimension_{as_text(name)}": as_text(each) for name, each in value.items()}
    listed = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    return {f"dimension_{as_text(each.get('name'))}": as_text(each.get("value")) for each in listed if each.get("name")}


def _event(message: Json) -> Said | None:
    """Read any other event of EventBridge; it ends only where it says so (`statusCode: closed`, as Health does)."""
    if not isinstance(message.get("detail-type"), str) or "source" not in message:
        return None
    detail, resources = _object(message.get("detail")), message.get("resources")
    resource = ", ".join(map(as_text, resources)) if isinstance(resources, list) else ""
    labels = _filled(
        alertname=message["detail-type"],
        origin=message["source"],
        region=message.get("region"),
        account=message.get("account"),
        resource=resource,
    )
    key = {**labels, "event": as_text(detail.get("eventArn"))}
    said = _filled(summary=_headline(detail), description=_object_text(detail))
    over = word(detail.get("statusCode")).lower() == "closed"
    return Said(key, labels, said, firing=not over, at=moment(message.get("time")))


def _other(topic: str, subject: str, message: object, at: datetime | None) -> Said:
    """Read a message of unknown form: it is one alert named by its subject, and it does not end by itself."""
    text = as_text(message) if not isinstance(message, dict) else _object_text(message)
    name = subject.strip() or UNNAMED
    labels = _filled(alertname=name, topic=topic)
    key = dict(labels) if subject.strip() else {**labels, "text": text}
    return Said(key, labels, _filled(summary=text[:300] or name, description=text), firing=True, at=at)


def subscription(topic: str, *, ended: bool) -> Said:
    """Somebody has ended the subscription: that topic's alerts do not arrive. It ends when it is subscribed again."""
    labels = {"alertname": "TopicUnsubscribed", "topic": topic}
    said = {"summary": f"the subscription of {topic} was ended; its alerts do not arrive any more"}
    return Said(labels, labels, said if ended else {}, firing=ended, at=None)


def _console(arn: str, region: str, name: str) -> str:
    if not arn:
        return ""
    host = f"{region}.console.amazonaws.cn" if arn.startswith("arn:aws-cn:") else f"{region}.console.aws.amazon.com"
    url = URL.build(scheme="https", host="console.aws.amazon.com", path="/cloudwatch/home", query={"region": region})
    try:
        return str(url.with_host(host).with_fragment(f"alarmsV2:alarm/{name}"))
    except ValueError:
        return ""


def _headline(detail: Json) -> str:
    described = detail.get("eventDescription")  # Health gives one in each language
    if isinstance(described, list) and described:
        return word(_object(described[0]).get("latestDescription"))[:300]
    found = (word(detail.get(key)) for key in ("description", "title", "message", "reason", "state"))
    return next(filter(None, found), "")[:300]


def _object_text(value: Json) -> str:
    return as_text(dict(value)) if value else ""


def _inner(message: object) -> object:
    """Give the JSON that stands in the text of a message, or the text."""
    if not isinstance(message, str) or not message.lstrip().startswith(("{", "[")):
        return message
    try:
        return read_json(message.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return message


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _filled(**values: object) -> dict[str, str]:
    return {name: as_text(value) for name, value in values.items() if value not in (None, "")}
