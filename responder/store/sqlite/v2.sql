-- Version 2: why an episode was judged as it was, what mutes it, heartbeats, and names that incidents have elsewhere.

-- Many episodes are judged alike but for their labels: the reasons are kept once, under their hash.
CREATE TABLE reason (hash TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
ALTER TABLE episode ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE episode ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE episode ADD COLUMN severity TEXT NOT NULL DEFAULT '';
ALTER TABLE episode ADD COLUMN muted TEXT NOT NULL DEFAULT '';
ALTER TABLE episode ADD COLUMN muted_why TEXT NOT NULL DEFAULT '';
-- What its sender calls its incident, and what another source may call it too: for when it is heard after it was muted.
ALTER TABLE episode ADD COLUMN ref TEXT NOT NULL DEFAULT '';
ALTER TABLE episode ADD COLUMN alias TEXT NOT NULL DEFAULT '';
CREATE INDEX episode_muted ON episode (firing, id) WHERE muted <> '';
CREATE INDEX episode_firing ON episode (id) WHERE firing = 1;
ALTER TABLE incident ADD COLUMN links TEXT NOT NULL DEFAULT '[]';
CREATE TABLE alias (alias TEXT, source TEXT, incident INTEGER NOT NULL, PRIMARY KEY (alias, source)) WITHOUT ROWID;
CREATE TABLE heartbeat (key TEXT PRIMARY KEY, rule TEXT NOT NULL, within_s REAL NOT NULL, labels TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
