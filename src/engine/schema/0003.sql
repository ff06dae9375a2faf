-- reconcile: what a stack knows of its images beside what the store has of them
CREATE TABLE image_lookups (
    stack     TEXT NOT NULL REFERENCES stacks (name) ON DELETE CASCADE,
    reference TEXT NOT NULL,
    question  TEXT NOT NULL,                   -- digest over what the registry was asked
    resolved  TEXT,                            -- Resolved as JSON; NULL before the first answer
    asked     INTEGER,                         -- when it answered last, in seconds since 1970
    tried     INTEGER NOT NULL,                -- when it was asked last
    PRIMARY KEY (stack, reference)
) STRICT;
CREATE TABLE image_origins (
    stack     TEXT NOT NULL REFERENCES stacks (name) ON DELETE CASCADE,
    reference TEXT NOT NULL,
    origin    TEXT NOT NULL,                   -- digest over what the image was made of, or checked with
    digest    TEXT NOT NULL,                   -- of the image that came of it
    PRIMARY KEY (stack, reference)
) STRICT;
CREATE TABLE image_pushes (
    stack  TEXT NOT NULL REFERENCES stacks (name) ON DELETE CASCADE,
    target TEXT NOT NULL,
    digest TEXT NOT NULL,                      -- of the image that was pushed last
    PRIMARY KEY (stack, target)
) STRICT;
ALTER TABLE generations ADD COLUMN images TEXT NOT NULL DEFAULT '{}'; -- JSON: digests by reference
