-- containers: engine/containers
CREATE TABLE user_ranges (                      -- ids of the host that are a container's own users
    container TEXT PRIMARY KEY REFERENCES containers (id) ON DELETE CASCADE,
    uid       INTEGER NOT NULL,                -- of its user 0; the others follow
    gid       INTEGER NOT NULL,                -- of its group 0
    size      INTEGER NOT NULL                 -- how many of each
) STRICT;
