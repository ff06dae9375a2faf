-- images: engine/images, on behalf of engine/build
CREATE TABLE build_steps (                      -- what a step of a build came to, so that it need not be done again
    key     TEXT PRIMARY KEY,                  -- digest over all that its result depends on
    diff_id TEXT NOT NULL REFERENCES layers (diff_id),
    about   TEXT NOT NULL,                     -- the instruction
    created INTEGER NOT NULL,                  -- when the layer was made, in seconds since 1970
    used    INTEGER NOT NULL,                  -- when it was needed last
    uses    INTEGER NOT NULL                   -- how often it was needed again
) STRICT;
CREATE INDEX build_steps_by_layer ON build_steps (diff_id);
