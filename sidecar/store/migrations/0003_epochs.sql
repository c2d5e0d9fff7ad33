-- When each epoch of Redis's content was chosen: an acknowledgement has to know how old it is (R2).

ALTER TABLE auth_shard ADD COLUMN redis_epoch_at timestamptz NOT NULL DEFAULT now();

-- The life of this database's data: a restore from a backup or a promotion begins another
-- timeline, and sequences may have been given twice (R12).
CREATE FUNCTION auth_timeline() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN pg_is_in_recovery() THEN ''
         ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
$$;
