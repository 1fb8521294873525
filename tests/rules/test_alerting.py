"""Other people's rule files are read in every wrapping: none that names an alert is refused."""

from pathlib import Path

import pytest

from responder.errors import FileError
from responder.rules.alerting import parse_alerting_rules, read_alerting_rules

FILE = Path("a.yaml")
PLAIN = """\
groups:
  - name: one
    rules:
      - record: a:b
        expr: up
      - alert: Down
        expr: up == 0
        labels: {severity: critical, team: "{{ $labels.team }}"}
        annotations: {summary: "{{ $labels.job }} is down"}
"""
CRD = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec:\n" + "".join(
    f"  {line}\n" for line in PLAIN.splitlines()
)
CONFIG_MAP = "kind: ConfigMap\ndata:\n  rules.yml: |\n" + "".join(f"    {line}\n" for line in PLAIN.splitlines())
HELM = """\
{{- if .Values.rules }}
groups:
- name: one
  rules:
  - alert: Down
    expr: up{cluster="{{ .Values.cluster }}"} == 0
    annotations:
      description: {{`{{ $labels.job }} is down`}}
    labels:
      severity: critical
{{- end }}
"""
MERGED = """\
base: &base {severity: critical}
groups:
  - name: one
    rules:
      - alert: Down
        labels: {<<: *base, since: 2020-13-45, odd: !Ref x}
"""
BROKEN = """\
groups:
- name: one
  rules:
  {{ range .Values.jobs }}
  - alert: 'Down' # really
    expr: up{job="{{ . }}"} == 0
    labels:
      severity: critical
      x: {{ . }} }} {{ [
  - record: "a
"""
ERB = """\
groups:
- name: one
  rules:
<% if_p('alerts.down') do |down| %>
  - alert: Down
    for: <%= p('alerts.down.time') %>
    labels: {severity: critical}
<% end %>
"""
JSONNET = """\
{ groups: [{
    name: 'one',
    rules: [alerts.processed({
      alert: 'Down',
      expr: ||| up == 0 |||,
      labels: {
        severity: 'critical',
      },
    })],
}] }
"""
INLINE = """\
groups:
- name: one
  rules:
  - alert: Down
    labels: { job: 'x', severity: "critical" }
   annotations: {summary: this line stands too far to the left}
"""


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        CRD,
        CONFIG_MAP,
        HELM,
        MERGED,
        BROKEN,
        ERB,
        JSONNET,
        INLINE,
        f"---\n{PLAIN}---\nkind: Other\n",
        PLAIN.replace("\n", "\r\n"),
    ],
    ids=[
        *(
            "plain",
            "object",
            "config map",
            "chart",
            "anchors and tags",
            "line by line",
            "ERB",
            "Jsonnet",
            "labels in a line",
        ),
        *("documents", "windows lines"),
    ],
)
def test_an_alert_is_found_in_every_wrapping(text: str) -> None:
    [rule] = parse_alerting_rules(text, FILE)
    assert (rule.name, rule.group, rule.labels["severity"]) == ("Down", "one", "critical")


def test_an_alert_has_the_labels_that_a_file_can_tell() -> None:
    [rule] = parse_alerting_rules(PLAIN, FILE)
    assert dict(rule.alert().labels) == {"alertname": "Down", "severity": "critical"}
    assert rule.alert().annotations["summary"] == "{{ $labels.job }} is down"
    assert rule.line == 6


def test_order_and_repetition_stay() -> None:
    text = "groups: [{name: a, rules: [{alert: B}, {alert: A}, {alert: B}]}, {name: b, rules: [{alert: C}]}]"
    found = [(rule.group, rule.name) for rule in parse_alerting_rules(text, FILE)]
    assert found == [("a", "B"), ("a", "A"), ("a", "B"), ("b", "C")]


@pytest.mark.parametrize("text", ["", "a: b", "groups: []", "[]", "7"])
def test_a_file_without_alerts_gives_none(text: str) -> None:
    assert parse_alerting_rules(text, FILE) == []


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    "text",
    ["a: [", BOMB, "[" * 3000, "a: &a [*a]\n"],
    ids=["not YAML", "aliases of aliases", "deep", "an alias of itself"],
)
def test_what_is_no_rule_file_is_refused_in_time(text: str) -> None:
    with pytest.raises(FileError, match=r"a\.yaml"):
        parse_alerting_rules(text, FILE)


@pytest.mark.parametrize("label", ["level", "severity_level", "urgency", "page"])
def test_each_label_that_tells_a_severity_is_read_line_by_line(label: str) -> None:
    [rule] = parse_alerting_rules(BROKEN.replace("severity:", f"{label}:"), FILE)
    assert rule.labels[label] == "critical"


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "b" / "x.yml", tmp_path / "a.yaml", tmp_path / "c.alerts", tmp_path / "note.txt"):
        path.write_text(PLAIN, "utf-8")
    assert [Path(rule.path).name for rule in read_alerting_rules(tmp_path)] == ["a.yaml", "x.yml", "c.alerts"]


def test_a_config_map_may_hold_its_rules_as_json(tmp_path: Path) -> None:
    held = '{"groups": [{"name": "g", "rules": [{"alert": "FromJson", "expr": "up", "labels": {"severity": "page"}}]}]}'
    (tmp_path / "map.yaml").write_text(f"kind: ConfigMap\ndata:\n  rules.json: '{held}'\n")
    assert [(each.name, each.labels) for each in read_alerting_rules(tmp_path)] == [("FromJson", {"severity": "page"})]


@pytest.mark.parametrize("name", ["a.yml.tmpl", "a.yaml.j2", "a.tpl", "a.libsonnet"])
def test_a_folder_is_read_with_its_templates(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        "{{ if .Values.on }}\ngroups:\n- rules:\n  - alert: Templated\n    expr: up\n{{ end }}\n"
    )
    assert [each.name for each in read_alerting_rules(tmp_path)] == ["Templated"]
