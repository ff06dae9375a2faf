-- networks: engine/networks; links with names of their own
ALTER TABLE leases ADD COLUMN interface TEXT; -- its name in the container; NULL: eth<link>
