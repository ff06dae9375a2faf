-- images: engine/images
CREATE TABLE images (
    digest        TEXT PRIMARY KEY,            -- of the manifest for one platform
    config        TEXT NOT NULL,               -- digest of the image's configuration, a blob in the store
    created       TEXT NOT NULL,               -- RFC 3339
    size          INTEGER NOT NULL,            -- bytes of the layers, unpacked
    imported_from TEXT                         -- fingerprint of the folder or tar it was made from
) STRICT;
CREATE TABLE image_refs (
    reference TEXT PRIMARY KEY,
    digest    TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE
) STRICT;
CREATE TABLE layers (
    diff_id TEXT PRIMARY KEY,                  -- digest of the uncompressed tar; its folder is layers/<hex>
    size    INTEGER NOT NULL                   -- bytes, unpacked
) STRICT;
CREATE TABLE image_layers (
    digest   TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL,                 -- 0 is the lowest
    diff_id  TEXT NOT NULL REFERENCES layers (diff_id),
    PRIMARY KEY (digest, position)
) STRICT;

-- networks: engine/networks
CREATE TABLE networks (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    stack    TEXT,
    resource TEXT,
    spec     TEXT NOT NULL,                    -- NetworkSpec as JSON
    subnet   TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE leases (
    network   TEXT NOT NULL REFERENCES networks (id),
    container TEXT NOT NULL,
    address   TEXT NOT NULL,
    names     TEXT NOT NULL,                   -- JSON array: what the container answers to in this network
    link      INTEGER NOT NULL,                -- eth<link> in the container
    PRIMARY KEY (network, container),
    UNIQUE (network, address)
) STRICT;
CREATE TABLE published (
    container      TEXT NOT NULL,
    protocol       TEXT NOT NULL,
    host_ip        TEXT NOT NULL,              -- '' is all addresses
    host_port      INTEGER NOT NULL,
    container_port INTEGER NOT NULL,
    address        TEXT NOT NULL,              -- of the container
    PRIMARY KEY (protocol, host_ip, host_port)
) STRICT;

-- volumes: engine/volumes
CREATE TABLE volumes (
    name     TEXT PRIMARY KEY,
    stack    TEXT,
    resource TEXT,
    spec     TEXT NOT NULL,                    -- VolumeSpec as JSON
    created  TEXT NOT NULL
) STRICT;

-- containers: engine/containers
CREATE TABLE containers (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    stack        TEXT,
    resource     TEXT,
    spec         TEXT NOT NULL,                -- ContainerSpec as JSON
    image_digest TEXT NOT NULL,
    created      TEXT NOT NULL,
    auto_remove  INTEGER NOT NULL,
    phase        TEXT NOT NULL                 -- creating, ready, removing
) STRICT;
CREATE TABLE configs (
    digest  TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

-- reconcile
CREATE TABLE stacks (
    name       TEXT PRIMARY KEY,
    source     TEXT,                           -- where the manifests are, when the daemon watches them
    generation INTEGER NOT NULL,               -- the applied one, 0 before the first
    conditions TEXT NOT NULL                   -- JSON
) STRICT;
CREATE TABLE generations (
    stack   TEXT NOT NULL REFERENCES stacks (name) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    desired TEXT NOT NULL,                     -- Desired as JSON
    applied TEXT NOT NULL,                     -- RFC 3339
    outcome TEXT NOT NULL,
    PRIMARY KEY (stack, number)
) STRICT;
CREATE TABLE journal (
    id       INTEGER PRIMARY KEY,
    stack    TEXT NOT NULL,
    action   TEXT NOT NULL,
    resource TEXT NOT NULL,
    cause    TEXT NOT NULL,
    started  TEXT NOT NULL,
    finished TEXT,                             -- NULL: begun, and not known to have ended
    error    TEXT
) STRICT;
