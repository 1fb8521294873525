-- Times are Unix seconds (REAL), lists and maps JSON text. One statement ends with a semicolon at a line's end.

CREATE TABLE inbox (seq INTEGER PRIMARY KEY, at REAL NOT NULL, receiver TEXT NOT NULL, request_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE webhook (receiver TEXT, id TEXT, at REAL NOT NULL, PRIMARY KEY (receiver, id)) WITHOUT ROWID;
CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, entries INTEGER NOT NULL);
INSERT INTO cursor VALUES (1, 0, 0);

CREATE TABLE episode (
  id INTEGER PRIMARY KEY, identity TEXT NOT NULL, source TEXT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
  firing INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL, received_at REAL NOT NULL, incident INTEGER,
  generator_url TEXT NOT NULL);
CREATE UNIQUE INDEX one_open_episode ON episode (identity) WHERE firing = 1;
CREATE INDEX episode_identity ON episode (identity, id);
CREATE INDEX episode_incident ON episode (incident, id);
-- How many entries of bodies each episode took in: narrow, because a repeat touches nothing else.
CREATE TABLE taken (episode INTEGER PRIMARY KEY, entries INTEGER NOT NULL);

CREATE TABLE incident (
  id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, group_key TEXT NOT NULL, severity TEXT NOT NULL,
  status TEXT NOT NULL, title TEXT NOT NULL, rule TEXT NOT NULL, runbook TEXT NOT NULL, channel TEXT NOT NULL,
  opened_at REAL NOT NULL, systems TEXT NOT NULL, extra_channels TEXT NOT NULL, firing INTEGER NOT NULL,
  episodes INTEGER NOT NULL, detected_by TEXT NOT NULL, acknowledged_at REAL, acknowledged_by TEXT NOT NULL,
  monitoring_at REAL, resolved_at REAL, resolved_by TEXT NOT NULL, commander TEXT NOT NULL, phase TEXT NOT NULL,
  summary TEXT NOT NULL, raised_at REAL, page_at REAL, run_n INTEGER NOT NULL, cost_usd REAL NOT NULL,
  decision TEXT NOT NULL, facts TEXT NOT NULL, impact TEXT NOT NULL);
CREATE UNIQUE INDEX one_open_incident ON incident (group_key) WHERE status NOT IN ('resolved', 'reviewed');
CREATE INDEX incident_group ON incident (group_key, id);
CREATE INDEX incident_open ON incident (severity) WHERE status NOT IN ('resolved', 'reviewed');

CREATE TABLE timeline (id INTEGER PRIMARY KEY, incident INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX timeline_incident ON timeline (incident, id);
CREATE TABLE evidence (
  id INTEGER PRIMARY KEY, incident INTEGER NOT NULL, name TEXT NOT NULL, step TEXT NOT NULL, tool TEXT NOT NULL,
  args TEXT NOT NULL, text TEXT NOT NULL, verdict TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX evidence_incident ON evidence (incident, id);
CREATE TABLE finding (
  id INTEGER PRIMARY KEY, incident INTEGER NOT NULL, claim TEXT NOT NULL, evidence TEXT NOT NULL, confidence TEXT NOT NULL,
  agent TEXT NOT NULL, phase TEXT NOT NULL, verified TEXT NOT NULL);
CREATE INDEX finding_incident ON finding (incident, id);

CREATE TABLE postmortem (incident INTEGER PRIMARY KEY, at REAL NOT NULL, text TEXT NOT NULL);

CREATE TABLE post (
  id INTEGER PRIMARY KEY AUTOINCREMENT, incident INTEGER NOT NULL, chat TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL,
  channel TEXT NOT NULL, message TEXT, state TEXT NOT NULL, created_at REAL NOT NULL, not_before REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, ts TEXT NOT NULL DEFAULT '', sent_at REAL, error TEXT NOT NULL DEFAULT '',
  looking_since REAL);
CREATE INDEX post_thread ON post (incident, chat, id) WHERE state IN ('queued', 'sending');
-- An edit of the head is worth sending once, however often it was asked for.
CREATE UNIQUE INDEX one_queued_head ON post (incident, chat) WHERE kind = 'head' AND state = 'queued';
CREATE INDEX post_incident ON post (incident, id);
CREATE TABLE thread (incident INTEGER, chat TEXT, channel TEXT NOT NULL, ts TEXT NOT NULL, permalink TEXT NOT NULL DEFAULT '', PRIMARY KEY (incident, chat)) WITHOUT ROWID;
CREATE TABLE channel (chat TEXT, name TEXT, id TEXT NOT NULL, PRIMARY KEY (chat, name)) WITHOUT ROWID;
CREATE TABLE channel_hold (chat TEXT, channel TEXT, until REAL NOT NULL, PRIMARY KEY (chat, channel)) WITHOUT ROWID;

CREATE TABLE run (
  id INTEGER PRIMARY KEY, incident INTEGER NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'open',
  epoch INTEGER NOT NULL DEFAULT 0, text TEXT, wake_at REAL NOT NULL DEFAULT 0, signals INTEGER NOT NULL DEFAULT 0,
  created_at REAL NOT NULL, ended_at REAL, result TEXT, UNIQUE (incident, kind, n));
CREATE INDEX run_due ON run (wake_at) WHERE state = 'open';
CREATE TABLE text (hash TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE journal (run INTEGER, name TEXT, phase TEXT, at REAL NOT NULL, value TEXT, PRIMARY KEY (run, name, phase)) WITHOUT ROWID;
CREATE TABLE signal (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, topic TEXT NOT NULL, value TEXT NOT NULL, at REAL NOT NULL, consumed TEXT);
CREATE INDEX signal_waiting ON signal (run, id) WHERE consumed IS NULL;

CREATE TABLE quarantine (id INTEGER PRIMARY KEY, receiver TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL, raw BLOB NOT NULL, entries INTEGER NOT NULL);
CREATE TABLE counter (name TEXT, label TEXT, n REAL NOT NULL, PRIMARY KEY (name, label)) WITHOUT ROWID;
CREATE TABLE canary (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL);
