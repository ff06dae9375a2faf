-- images: engine/images
ALTER TABLE layers ADD COLUMN tar_size INTEGER;  -- bytes of the uncompressed tar; NULL: unpacked before there were skeletons
CREATE TABLE layer_blobs (                      -- blobs that are known to unpack to a layer
    digest     TEXT NOT NULL,
    diff_id    TEXT NOT NULL REFERENCES layers (diff_id) ON DELETE CASCADE,
    size       INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    kept       INTEGER NOT NULL,                -- whether it is in the store
    PRIMARY KEY (digest, diff_id)
) STRICT;
CREATE INDEX layer_blobs_by_layer ON layer_blobs (diff_id);
CREATE TABLE blob_places (                      -- where blobs and manifests were seen
    digest     TEXT NOT NULL,
    registry   TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, registry, repository)
) STRICT;
CREATE INDEX image_layers_by_layer ON image_layers (diff_id);
CREATE INDEX image_refs_by_image ON image_refs (digest);
