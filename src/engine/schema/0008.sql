-- reconcile: generations that one can go back to
ALTER TABLE generations ADD COLUMN contents TEXT;       -- JSON: digests of configs and secrets; NULL: their content is in desired
ALTER TABLE generations ADD COLUMN source TEXT;         -- where the manifests were
ALTER TABLE generations ADD COLUMN brings_back INTEGER; -- the generation that this one is again
ALTER TABLE stacks ADD COLUMN hold TEXT;                -- JSON: which generation is held against its source; NULL: none
ALTER TABLE stacks ADD COLUMN observed INTEGER NOT NULL DEFAULT 0; -- the generation that the conditions speak of
ALTER TABLE journal ADD COLUMN generation INTEGER;      -- that the step was for; NULL: written before that was noted
CREATE INDEX journal_by_stack ON journal (stack, id);
