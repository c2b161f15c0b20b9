-- API keys. Unlike everything else here this is no projection: it is the truth, and losing it means that nobody gets in.
-- `IF NOT EXISTS`: where the history was emptied and its tables are made anew, keys that are still there stay.

-- Which keyring the keys were made with: one row.
CREATE TABLE IF NOT EXISTS api_keyring (
    one     BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    keyring TEXT   NOT NULL
);

CREATE TABLE IF NOT EXISTS api_key (
    id          TEXT   NOT NULL PRIMARY KEY,
    owner       TEXT   NOT NULL,
    generation  BIGINT NOT NULL,
    active      BIGINT NOT NULL,
    changed_ms  BIGINT NOT NULL,
    record      TEXT   NOT NULL
);
CREATE INDEX IF NOT EXISTS api_key_owner ON api_key (owner, id);
CREATE INDEX IF NOT EXISTS api_key_changed ON api_key (changed_ms);

-- Hashes, until they are purged; the row stays.
CREATE TABLE IF NOT EXISTS api_key_version (
    id          TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    hash        TEXT,
    verifier    TEXT,
    keyring     BIGINT,
    PRIMARY KEY (id, version)
);

CREATE TABLE IF NOT EXISTS api_key_usage (
    id           TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    count        BIGINT NOT NULL,
    last_used_ms BIGINT NOT NULL,
    source       TEXT,
    PRIMARY KEY (id, version)
);

-- What is to be said on the bus, written in the transaction that it tells of.
CREATE TABLE IF NOT EXISTS api_key_outbox (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    body        TEXT   NOT NULL,
    at_ms       BIGINT NOT NULL,
    done_ms     BIGINT
);
CREATE INDEX IF NOT EXISTS api_key_outbox_open ON api_key_outbox (number) WHERE done_ms IS NULL;
CREATE INDEX IF NOT EXISTS api_key_outbox_done ON api_key_outbox (done_ms) WHERE done_ms IS NOT NULL;
