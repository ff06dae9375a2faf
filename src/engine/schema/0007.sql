-- stacks: reconcile, on behalf of plan
ALTER TABLE image_origins ADD COLUMN made TEXT;    -- what it was built of, as JSON, to tell what has changed since
-- images: engine/images
CREATE TABLE image_members (                      -- what else a name means: images for other platforms, and what is attested
    reference    TEXT NOT NULL REFERENCES image_refs (reference) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    digest       TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
    attestations TEXT NOT NULL,                   -- JSON: predicates, each with its type
    PRIMARY KEY (reference, position)
) STRICT;
CREATE INDEX image_members_by_image ON image_members (digest);
