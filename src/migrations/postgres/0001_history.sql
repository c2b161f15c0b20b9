-- History: a projection of the log. Everything here can be rebuilt from the log, and is idempotent by (incarnation, part, position).

-- How far the log has been projected, one row a stream incarnation and partition.
CREATE TABLE projection (
    incarnation TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    at_ms       BIGINT NOT NULL,
    PRIMARY KEY (incarnation, part)
);

-- Every alert message, whole.
CREATE TABLE alert (
    id          TEXT   NOT NULL PRIMARY KEY,
    incident    TEXT   NOT NULL,
    at_ms       BIGINT NOT NULL,
    incarnation TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    body        TEXT   NOT NULL
);
CREATE INDEX alert_incident ON alert (incident);
CREATE INDEX alert_at ON alert (at_ms);

-- What began and ended: the message that fired last and the one that resolved. Open while `resolved_ms` is null.
CREATE TABLE incident (
    number      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident    TEXT   NOT NULL UNIQUE,
    rule        TEXT   NOT NULL,
    service     TEXT   NOT NULL,
    severity    TEXT   NOT NULL,
    opened_ms   BIGINT NOT NULL,
    resolved_ms BIGINT,
    firing      TEXT,
    resolved    TEXT
);
CREATE INDEX incident_open ON incident (number) WHERE resolved_ms IS NULL;
CREATE INDEX incident_resolved ON incident (resolved_ms);
CREATE INDEX incident_service ON incident (service, number);

CREATE TABLE command (
    number      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          TEXT   NOT NULL UNIQUE,
    incident    TEXT   NOT NULL,
    service     TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    at_ms       BIGINT NOT NULL,
    incarnation TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    body        TEXT   NOT NULL
);
CREATE INDEX command_incident ON command (incident);
CREATE INDEX command_at ON command (at_ms);

CREATE TABLE outcome (
    incarnation TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    command     TEXT   NOT NULL,
    at_ms       BIGINT NOT NULL,
    body        TEXT   NOT NULL,
    PRIMARY KEY (incarnation, part, position)
);
CREATE INDEX outcome_command ON outcome (command);
CREATE INDEX outcome_at ON outcome (at_ms);

-- The last picture of the query mind, so that it can be looked at while the mind is not there.
CREATE TABLE query (
    service     TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    picture     BIGINT NOT NULL,
    body        TEXT   NOT NULL,
    PRIMARY KEY (service, fingerprint)
);
