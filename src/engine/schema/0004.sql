-- images: engine/images
CREATE TABLE completions (                      -- what is laid over a layer that cannot say all by itself
    chain_id TEXT PRIMARY KEY,                 -- of the layer and all below it; its folder is completions/<hex>
    size     INTEGER NOT NULL                  -- bytes, unpacked
) STRICT;
ALTER TABLE image_layers ADD COLUMN completion TEXT REFERENCES completions (chain_id);
CREATE INDEX image_layers_by_completion ON image_layers (completion);
ALTER TABLE layers ADD COLUMN dependent INTEGER; -- whether the layers below have a say in it; NULL: unpacked before that was noted
