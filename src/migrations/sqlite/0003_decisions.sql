-- What the recovery actor decided, held back, and why. It is taken from the mind's own record, known by the message at which it was
-- decided and its number there: what is decided again after a restart is the same row.
CREATE TABLE IF NOT EXISTS decision (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    incarnation TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    place       BIGINT NOT NULL,
    at_ms       BIGINT NOT NULL,
    what        TEXT   NOT NULL,
    incident    TEXT   NOT NULL,
    service     TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    body        TEXT   NOT NULL,
    UNIQUE (incarnation, part, position, place)
);
CREATE INDEX IF NOT EXISTS decision_incident ON decision (incident, number);
CREATE INDEX IF NOT EXISTS decision_service ON decision (service, number);
CREATE INDEX IF NOT EXISTS decision_at ON decision (at_ms);

-- Which alerts judge what was done about an incident, and the command that they judge (empty where there was none).
CREATE TABLE IF NOT EXISTS verdict (
    incident    TEXT   NOT NULL,
    alert       TEXT   NOT NULL,
    command     TEXT   NOT NULL,
    at_ms       BIGINT NOT NULL,
    PRIMARY KEY (incident, alert)
);
CREATE INDEX IF NOT EXISTS verdict_command ON verdict (command, at_ms);
CREATE INDEX IF NOT EXISTS verdict_at ON verdict (at_ms);
