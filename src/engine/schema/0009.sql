-- networks: engine/networks; IPv6 beside IPv4 or instead of it
CREATE TABLE ula (global_id TEXT NOT NULL) STRICT; -- 40 random bits in hexadecimal, which tell this instance's networks from all others (RFC 4193, 3.2)
INSERT INTO ula (global_id) VALUES (lower(hex(randomblob(5))));
CREATE TABLE leases_before AS SELECT network, container, address, names, link FROM leases;
DROP TABLE leases;
CREATE TABLE networks_now (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    stack    TEXT,
    resource TEXT,
    spec     TEXT NOT NULL,                       -- NetworkSpec as JSON
    subnet   TEXT UNIQUE,                         -- NULL: without IPv4
    subnet6  TEXT UNIQUE,                         -- NULL: without IPv6
    CHECK (subnet IS NOT NULL OR subnet6 IS NOT NULL)
) STRICT;
INSERT INTO networks_now (id, name, stack, resource, spec, subnet) SELECT id, name, stack, resource, spec, subnet FROM networks;
DROP TABLE networks;
ALTER TABLE networks_now RENAME TO networks;
CREATE TABLE leases (
    network   TEXT NOT NULL REFERENCES networks (id),
    container TEXT NOT NULL,
    address   TEXT,
    address6  TEXT,
    names     TEXT NOT NULL,                      -- JSON array: what the container answers to in this network
    link      INTEGER NOT NULL,                   -- eth<link> in the container
    PRIMARY KEY (network, container),
    UNIQUE (network, address),
    UNIQUE (network, address6)
) STRICT;
INSERT INTO leases (network, container, address, names, link) SELECT network, container, address, names, link FROM leases_before;
DROP TABLE leases_before;
ALTER TABLE published RENAME TO published_before;
CREATE TABLE published (
    container      TEXT NOT NULL,
    protocol       TEXT NOT NULL,
    host_ip        TEXT NOT NULL,                 -- '' is all addresses; 0.0.0.0 and :: are all of a family
    host_port      INTEGER NOT NULL,
    container_port INTEGER NOT NULL,
    address        TEXT,                          -- of the container, where callers by IPv4 are led
    address6       TEXT,                          -- and those by IPv6
    PRIMARY KEY (protocol, host_ip, host_port)
) STRICT;
INSERT INTO published (container, protocol, host_ip, host_port, container_port, address)
    SELECT container, protocol, host_ip, host_port, container_port, address FROM published_before;
DROP TABLE published_before;
