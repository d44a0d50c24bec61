-- A time that ends in _ms is in milliseconds since the Unix epoch, UTC; one with a boot beside it is in
-- milliseconds since that start of the machine. Digests and hashes are 64 hex digits.

CREATE TABLE workspaces (
    scope      TEXT PRIMARY KEY,
    registry   TEXT,
    -- Rises over all workspaces whenever a worker claims a build of this one.
    served     INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX workspaces_by_service ON workspaces (served);

CREATE TABLE definitions (
    scope              TEXT NOT NULL REFERENCES workspaces (scope),
    spec_hash          TEXT NOT NULL,
    canonical          TEXT NOT NULL,
    current_generation INTEGER,
    lock_hash          TEXT,
    created_ms         INTEGER NOT NULL,
    PRIMARY KEY (scope, spec_hash)
) STRICT;

CREATE INDEX definitions_by_lock ON definitions (scope, lock_hash);

-- created_ms is when it was put last.
CREATE TABLE locks (
    id         INTEGER PRIMARY KEY,
    scope      TEXT NOT NULL,
    lock_hash  TEXT NOT NULL,
    json       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (scope, lock_hash)
) STRICT;

-- Packages and wheels that locks name, and other blobs that were used.
CREATE TABLE archives (
    id         INTEGER PRIMARY KEY,
    digest     TEXT NOT NULL UNIQUE,
    size_bytes INTEGER,
    used_ms    INTEGER NOT NULL
) STRICT;

CREATE TABLE lock_archives (
    archive INTEGER NOT NULL REFERENCES archives (id),
    lock    INTEGER NOT NULL REFERENCES locks (id),
    PRIMARY KEY (archive, lock)
) STRICT, WITHOUT ROWID;
CREATE INDEX lock_archives_by_lock ON lock_archives (lock);

-- Layers of packages, and of several packages, by the key that decides their bytes. A row may outlive its blob.
CREATE TABLE package_layers (
    key            TEXT PRIMARY KEY,
    digest         TEXT NOT NULL,
    diff_id        TEXT NOT NULL,
    size_bytes     INTEGER NOT NULL,
    -- Where the package's own entries are; a layer of several packages has none.
    segment_offset INTEGER NOT NULL,
    segment_bytes  INTEGER NOT NULL,
    -- A JSON array.
    directories    TEXT NOT NULL,
    created_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX package_layers_by_digest ON package_layers (digest);

-- A repository of each registry that got a layer last: others of that registry mount it from there.
CREATE TABLE layer_places (
    digest     TEXT NOT NULL,
    registry   TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, registry)
) STRICT, WITHOUT ROWID;

CREATE TABLE blob_holds (
    digest TEXT NOT NULL,
    holder TEXT NOT NULL,
    PRIMARY KEY (digest, holder)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_holds_by_holder ON blob_holds (holder);

CREATE TABLE builds (
    id            TEXT PRIMARY KEY,
    scope         TEXT NOT NULL,
    spec_hash     TEXT NOT NULL,
    state         TEXT NOT NULL,
    fence         INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    crashes       INTEGER NOT NULL DEFAULT 0,
    -- The worker that has it, and until when; none has it while it waits and when it is over.
    lease_owner   TEXT,
    lease_boot    TEXT,
    lease_until   INTEGER,
    -- Not to be claimed before.
    due_boot      TEXT,
    due_at        INTEGER,
    -- When it was first claimed.
    began_boot    TEXT,
    began_at      INTEGER,
    repository    TEXT NOT NULL,
    backend       TEXT NOT NULL,
    refresh       INTEGER NOT NULL,
    lock_hash     TEXT,
    -- The image it was about to push, as JSON, once it got so far.
    pushed        TEXT,
    digest        TEXT,
    generation    INTEGER,
    failure_json  TEXT,
    actor         TEXT NOT NULL,
    via           TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    started_ms    INTEGER,
    finished_ms   INTEGER,
    FOREIGN KEY (scope, spec_hash) REFERENCES definitions (scope, spec_hash)
) STRICT;

-- One active build per definition: the database says so, not a check.
CREATE UNIQUE INDEX builds_active ON builds (scope, spec_hash)
    WHERE state NOT IN ('READY', 'FAILED', 'CANCELLED');
CREATE INDEX builds_by_scope ON builds (scope, id);
CREATE INDEX builds_waiting ON builds (scope, id)
    WHERE lease_owner IS NULL AND state NOT IN ('READY', 'FAILED', 'CANCELLED');
CREATE INDEX builds_leased ON builds (scope) WHERE lease_owner IS NOT NULL;

-- What images were built on; no index is an empty text.
CREATE TABLE bases (
    id           INTEGER PRIMARY KEY,
    reference    TEXT NOT NULL,
    index_digest TEXT NOT NULL,
    digest       TEXT NOT NULL,
    UNIQUE (digest, reference, index_digest)
) STRICT;

CREATE TABLE images (
    scope       TEXT NOT NULL,
    spec_hash   TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    repository  TEXT NOT NULL,
    digest      TEXT NOT NULL,
    image_key   TEXT,
    lock_hash   TEXT,
    backend     TEXT NOT NULL,
    size_bytes  INTEGER NOT NULL,
    build_id    TEXT,
    base        INTEGER REFERENCES bases (id),
    lost        INTEGER NOT NULL DEFAULT 0,
    -- kiln made it, and its tags are not known to be set.
    untagged    INTEGER NOT NULL DEFAULT 0,
    outdated    TEXT,
    verified_ms INTEGER NOT NULL DEFAULT 0,
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (scope, spec_hash, generation),
    FOREIGN KEY (scope, spec_hash) REFERENCES definitions (scope, spec_hash)
) STRICT;
CREATE INDEX images_untagged ON images (created_ms) WHERE untagged AND NOT lost;
CREATE INDEX images_by_key ON images (scope, image_key);
CREATE INDEX images_by_digest ON images (digest);
CREATE INDEX images_by_lock ON images (scope, lock_hash);
CREATE INDEX images_by_base ON images (base) WHERE base IS NOT NULL;
CREATE INDEX images_by_check ON images (verified_ms) WHERE lost = 0;

-- Generations that something keeps although they are not current.
CREATE TABLE pins (
    holder     TEXT NOT NULL,
    scope      TEXT NOT NULL,
    spec_hash  TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (scope, spec_hash, generation, holder),
    FOREIGN KEY (scope, spec_hash, generation) REFERENCES images (scope, spec_hash, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX pins_by_holder ON pins (holder);

-- The settings '*' stand for any.
CREATE TABLE remembered_failures (
    scope        TEXT NOT NULL,
    spec_hash    TEXT NOT NULL,
    settings     TEXT NOT NULL,
    class        TEXT NOT NULL,
    failure_json TEXT NOT NULL,
    build_id     TEXT,
    until_ms     INTEGER NOT NULL,
    PRIMARY KEY (scope, spec_hash, settings)
) STRICT;

-- Answers to requests that may come again: idempotency keys and messages.
CREATE TABLE requests (
    space    TEXT NOT NULL,
    key      TEXT NOT NULL,
    body     TEXT NOT NULL,
    answer   TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) STRICT;
CREATE INDEX requests_by_end ON requests (until_ms);

CREATE TABLE base_facts (
    digest     TEXT PRIMARY KEY,
    json       TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
    scope      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,
    form       TEXT NOT NULL,
    username   TEXT,
    sealed     BLOB NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, kind, target, form)
) STRICT;

-- The outbox: what happened, and who is to know. Written with what it tells.
CREATE TABLE events (
    id         TEXT PRIMARY KEY,
    scope      TEXT NOT NULL,
    type       TEXT NOT NULL,
    build_id   TEXT,
    payload    TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_scope ON events (scope, id);
CREATE INDEX events_by_time ON events (created_ms);

-- Types are ',ready,failed,', or empty for all.
CREATE TABLE hooks (
    id          TEXT PRIMARY KEY,
    scope       TEXT NOT NULL REFERENCES workspaces (scope),
    url         TEXT NOT NULL,
    types       TEXT NOT NULL,
    disabled    TEXT,
    last_secret INTEGER NOT NULL DEFAULT 0,
    actor       TEXT NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX hooks_by_scope ON hooks (scope, id);

CREATE TABLE hook_secrets (
    hook_id    TEXT NOT NULL REFERENCES hooks (id),
    number     INTEGER NOT NULL,
    sealed     BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (hook_id, number)
) STRICT;

-- Receivers of one build's events: the kind is 'url' or 'subject'.
CREATE TABLE build_callbacks (
    build_id TEXT NOT NULL,
    kind     TEXT NOT NULL,
    target   TEXT NOT NULL,
    PRIMARY KEY (build_id, kind, target)
) STRICT, WITHOUT ROWID;

-- The kind is 'hook', 'url' or 'subject'; the state 'pending', 'done' or 'dead'.
CREATE TABLE deliveries (
    event_id   TEXT NOT NULL REFERENCES events (id),
    kind       TEXT NOT NULL,
    target     TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    next_ms    INTEGER NOT NULL,
    state      TEXT NOT NULL,
    last_error TEXT,
    PRIMARY KEY (event_id, kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (next_ms) WHERE state = 'pending';
CREATE INDEX deliveries_by_hook ON deliveries (target) WHERE kind = 'hook';

-- Named environments. Versions and their documents never change.
CREATE TABLE environments (
    scope       TEXT NOT NULL REFERENCES workspaces (scope),
    name        TEXT NOT NULL,
    archived_ms INTEGER,
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT;

-- The number orders versions of a name; the highest that is not archived is `latest`. The document is
-- without credentials; files and overrides are JSON. The generation is the definition's that was
-- current when the version was made, or else its first after that.
CREATE TABLE environment_versions (
    scope       TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    number      INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    document    TEXT NOT NULL,
    files       TEXT NOT NULL,
    overrides   TEXT NOT NULL,
    digest      TEXT NOT NULL,
    spec_hash   TEXT NOT NULL,
    generation  INTEGER,
    archived_ms INTEGER,
    actor       TEXT NOT NULL,
    via         TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (scope, name, version),
    UNIQUE (scope, name, number),
    FOREIGN KEY (scope, name) REFERENCES environments (scope, name),
    FOREIGN KEY (scope, spec_hash) REFERENCES definitions (scope, spec_hash)
) STRICT;
CREATE INDEX environment_versions_by_hash ON environment_versions (scope, spec_hash);

CREATE TABLE environment_labels (
    scope   TEXT NOT NULL,
    name    TEXT NOT NULL,
    label   TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (scope, name, label),
    FOREIGN KEY (scope, name, version) REFERENCES environment_versions (scope, name, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX environment_labels_by_version ON environment_labels (scope, name, version);

-- What was done to a name; no version is the whole name.
CREATE TABLE environment_history (
    id      INTEGER PRIMARY KEY,
    scope   TEXT NOT NULL,
    name    TEXT NOT NULL,
    version TEXT,
    action  TEXT NOT NULL,
    detail  TEXT,
    actor   TEXT NOT NULL,
    via     TEXT NOT NULL,
    at_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX environment_history_by_name ON environment_history (scope, name, id);

-- Models. Files, tags, properties and details are JSON; the files' blobs are held by `model:...`. A version
-- that is deleted keeps its number.
CREATE TABLE models (
    scope       TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    files       TEXT NOT NULL,
    description TEXT,
    tags        TEXT NOT NULL,
    properties  TEXT NOT NULL,
    run_id      TEXT,
    experiment  TEXT,
    details     TEXT NOT NULL,
    actor       TEXT NOT NULL,
    via         TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    changed_ms  INTEGER NOT NULL,
    deleted_ms  INTEGER,
    PRIMARY KEY (scope, name, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX models_by_run ON models (scope, run_id);
-- What runs belong to.
CREATE TABLE experiments (
    scope      TEXT NOT NULL,
    name       TEXT NOT NULL,
    id         TEXT NOT NULL,
    actor      TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT;
CREATE UNIQUE INDEX experiments_by_id ON experiments (scope, id);

-- Scripts that ran, or are to run, in an environment, which may be a curated one and so no row. `number`
-- counts within the experiment.
CREATE TABLE runs (
    scope               TEXT NOT NULL,
    id                  TEXT NOT NULL,
    experiment          TEXT NOT NULL,
    number              INTEGER NOT NULL,
    uuid                TEXT NOT NULL,
    parent              TEXT,
    title               TEXT,
    status              TEXT NOT NULL,
    environment         TEXT,
    environment_version TEXT,
    image               TEXT,
    target              TEXT NOT NULL,
    script              TEXT,
    arguments           TEXT NOT NULL,
    definition          TEXT,
    snapshot            TEXT,
    properties          TEXT NOT NULL,
    tags                TEXT NOT NULL,
    exit_code           INTEGER,
    error_code          TEXT,
    error_message       TEXT,
    actor               TEXT NOT NULL,
    via                 TEXT NOT NULL,
    created_ms          INTEGER NOT NULL,
    changed_ms          INTEGER NOT NULL,
    started_ms          INTEGER,
    ended_ms            INTEGER,
    PRIMARY KEY (scope, id),
    UNIQUE (scope, experiment, number),
    FOREIGN KEY (scope, experiment) REFERENCES experiments (scope, name)
) STRICT;
CREATE INDEX runs_by_environment ON runs (scope, environment, environment_version);
CREATE INDEX runs_by_age ON runs (scope, created_ms, id);
CREATE INDEX runs_open ON runs (created_ms) WHERE ended_ms IS NULL;

-- What a run wrote: files by their path in the run, whose bytes are blobs that `blob_holds` holds.
CREATE TABLE run_files (
    scope      TEXT NOT NULL,
    run        TEXT NOT NULL,
    path       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, run, path),
    FOREIGN KEY (scope, run) REFERENCES runs (scope, id)
) STRICT, WITHOUT ROWID;

-- Values that a run logged, in the order in which they came.
CREATE TABLE run_metrics (
    seq        INTEGER PRIMARY KEY,
    scope      TEXT NOT NULL,
    run        TEXT NOT NULL,
    id         TEXT NOT NULL,
    name       TEXT NOT NULL,
    columns    TEXT NOT NULL,
    properties TEXT NOT NULL,
    data       TEXT NOT NULL,
    at         TEXT NOT NULL,
    FOREIGN KEY (scope, run) REFERENCES runs (scope, id)
) STRICT;
CREATE UNIQUE INDEX run_metrics_by_id ON run_metrics (scope, run, id);
CREATE INDEX run_metrics_by_name ON run_metrics (scope, run, name, seq);

-- Build contexts: normalised tars. Their blobs are held by `context:...` for ever.
CREATE TABLE contexts (
    scope      TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    files      INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    via        TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, digest)
) STRICT, WITHOUT ROWID;

-- Private wheels. Their blobs are held by `wheel:...` for ever; url has no signature.
CREATE TABLE wheels (
    scope      TEXT NOT NULL,
    file_name  TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    url        TEXT,
    actor      TEXT NOT NULL,
    via        TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, file_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX wheels_by_digest ON wheels (scope, digest);
CREATE INDEX wheels_by_url ON wheels (scope, url);
