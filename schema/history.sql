-- The record of the migrations that were applied, in the form of the crate refinery.
CREATE TABLE IF NOT EXISTS refinery_schema_history (
    version int4 PRIMARY KEY,
    name varchar(255),
    applied_on varchar(255),
    checksum varchar(255)
);
