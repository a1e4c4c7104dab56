-- Which packet an event is about: several kinds may have a channel of one name.

ALTER TABLE anomaly ADD COLUMN packet text;
COMMENT ON COLUMN anomaly.packet IS 'Packet kind that it is about; NULL in rows of before it was stored';
COMMENT ON COLUMN anomaly.channel IS 'Column of the packet''s table in which it shows; sequence for the counter, the packet''s name for all of it';
