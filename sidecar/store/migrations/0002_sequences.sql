-- Triggers that give each change its sequence, so that changes by plain SQL propagate too.
--
-- They are statement-level: one statement over many rows takes one range of sequences. They look
-- at what differs between the rows before and after, and so do nothing for the updates of
-- `version` they make themselves, nor for statements that change nothing. (Asking
-- pg_trigger_depth() instead would lose changes made by a trigger of somebody else.)
--
-- Functions keep the search path of the migration: whoever changes rows may have another.

CREATE TYPE auth_user_key AS (tenant text, subject text);
CREATE TYPE auth_session_key AS (tenant text, subject text, digest bytea);

-- One sequence and one outbox row for each subject; returns the sequence before the first.
CREATE FUNCTION auth_announce(of_kind text, of_tenant text, subjects text[], payloads bytea[])
RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  of_shard smallint := auth_shard_of(of_tenant);
  changes integer := cardinality(subjects);
  last bigint;
BEGIN
  UPDATE auth_shard SET seq = seq + changes WHERE shard = of_shard RETURNING seq INTO STRICT last;
  INSERT INTO auth_outbox (shard, seq, kind, tenant, subject, version, payload)
  SELECT of_shard, last - changes + i, of_kind, of_tenant, subjects[i], last - changes + i,
         coalesce(payloads[i], '')
  FROM generate_subscripts(subjects, 1) AS i;
  PERFORM pg_notify('auth_outbox', of_shard::text);
  RETURN last - changes;
END $$;

-- More than 1 000 users in one statement: forgetting the tenant is cheaper than naming them.
CREATE FUNCTION auth_touch_users(keys auth_user_key[])
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  touched record;
  base bigint;
BEGIN
  FOR touched IN
    SELECT key.tenant, array_agg(key.subject ORDER BY key.subject) AS subjects
    FROM (SELECT DISTINCT tenant, subject FROM unnest(keys)) AS key
    GROUP BY key.tenant
    ORDER BY auth_shard_of(key.tenant), key.tenant
  LOOP
    IF cardinality(touched.subjects) > 1000 THEN
      base := auth_announce('tenant', touched.tenant, ARRAY[''], ARRAY[]::bytea[]);
      UPDATE auth_user SET version = base + 1
      WHERE tenant = touched.tenant AND subject = ANY (touched.subjects);
    ELSE
      base := auth_announce('user', touched.tenant, touched.subjects, ARRAY[]::bytea[]);
      UPDATE auth_user SET version = base + named.place
      FROM unnest(touched.subjects) WITH ORDINALITY AS named (subject, place)
      WHERE auth_user.tenant = touched.tenant AND auth_user.subject = named.subject;
    END IF;
  END LOOP;
END $$;

-- Sessions in memory are not known by their tenant: beyond 1 000 the shard is flushed.
CREATE FUNCTION auth_touch_sessions(keys auth_session_key[])
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  touched record;
  base bigint;
BEGIN
  FOR touched IN
    SELECT key.tenant, array_agg(key.subject ORDER BY key.digest) AS subjects,
           array_agg(key.digest ORDER BY key.digest) AS digests
    FROM (SELECT DISTINCT tenant, subject, digest FROM unnest(keys)) AS key
    GROUP BY key.tenant
    ORDER BY auth_shard_of(key.tenant), key.tenant
  LOOP
    IF cardinality(touched.digests) > 1000 THEN
      base := auth_announce('flush', touched.tenant, ARRAY[''], ARRAY[]::bytea[]);
      UPDATE auth_session SET version = base + 1
      WHERE tenant = touched.tenant AND digest = ANY (touched.digests);
    ELSE
      base := auth_announce('session', touched.tenant, touched.subjects, touched.digests);
      UPDATE auth_session SET version = base + named.place
      FROM unnest(touched.digests) WITH ORDINALITY AS named (digest, place)
      WHERE auth_session.tenant = touched.tenant AND auth_session.digest = named.digest;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION auth_touch_roles(slugs text[])
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  slug_of text;
  base bigint;
BEGIN
  FOR slug_of IN
    SELECT DISTINCT slug, auth_shard_of(slug) AS shard FROM unnest(slugs) AS slug ORDER BY 2, 1
  LOOP
    base := auth_announce('roles', slug_of, ARRAY[''], ARRAY[]::bytea[]);
    UPDATE auth_tenant SET roles_version = base + 1 WHERE slug = slug_of;
  END LOOP;
END $$;

CREATE FUNCTION auth_tenant_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  slug_of text;
  slugs text[];
  base bigint;
BEGIN
  IF TG_OP = 'INSERT' THEN
    slugs := ARRAY(SELECT slug FROM after);
  ELSIF TG_OP = 'DELETE' THEN
    slugs := ARRAY(SELECT slug FROM before);
  ELSE
    slugs := ARRAY(SELECT slug FROM (
      (SELECT slug, status FROM before EXCEPT SELECT slug, status FROM after)
      UNION (SELECT slug, status FROM after EXCEPT SELECT slug, status FROM before)) AS touched);
  END IF;
  FOR slug_of IN
    SELECT DISTINCT slug, auth_shard_of(slug) AS shard FROM unnest(slugs) AS slug ORDER BY 2, 1
  LOOP
    base := auth_announce('tenant', slug_of, ARRAY[''], ARRAY[]::bytea[]);
    UPDATE auth_tenant SET version = base + 1 WHERE slug = slug_of;
  END LOOP;
  RETURN NULL;
END $$;

CREATE FUNCTION auth_user_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM auth_touch_users(ARRAY(SELECT (tenant, subject)::auth_user_key FROM after));
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM auth_touch_users(ARRAY(SELECT (tenant, subject)::auth_user_key FROM before));
  ELSE
    PERFORM auth_touch_users(ARRAY(SELECT (tenant, subject)::auth_user_key FROM (
      (SELECT tenant, subject, status FROM before EXCEPT SELECT tenant, subject, status FROM after)
      UNION
      (SELECT tenant, subject, status FROM after EXCEPT SELECT tenant, subject, status FROM before)
    ) AS touched));
  END IF;
  RETURN NULL;
END $$;

-- For both tables of grants: all their columns count.
CREATE FUNCTION auth_grants_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM auth_touch_users(ARRAY(SELECT (tenant, subject)::auth_user_key FROM after));
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM auth_touch_users(ARRAY(SELECT (tenant, subject)::auth_user_key FROM before));
  ELSE
    PERFORM auth_touch_users(ARRAY(SELECT (tenant, subject)::auth_user_key FROM (
      (TABLE before EXCEPT TABLE after) UNION (TABLE after EXCEPT TABLE before)) AS touched));
  END IF;
  RETURN NULL;
END $$;

-- For roles, parents and rules: all their columns count.
CREATE FUNCTION auth_roles_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM auth_touch_roles(ARRAY(SELECT tenant FROM after));
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM auth_touch_roles(ARRAY(SELECT tenant FROM before));
  ELSE
    PERFORM auth_touch_roles(ARRAY(SELECT tenant FROM (
      (TABLE before EXCEPT TABLE after) UNION (TABLE after EXCEPT TABLE before)) AS touched));
  END IF;
  RETURN NULL;
END $$;

-- Runs after auth_roles_changed (triggers run in the order of their names), hence while the row
-- of the shard is locked: two transactions cannot each add one half of a cycle.
CREATE FUNCTION auth_role_parent_check() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  cyclic record;
BEGIN
  WITH RECURSIVE above (tenant, start, role) AS (
    SELECT tenant, role, parent FROM after
    UNION
    SELECT above.tenant, above.start, next.parent
    FROM above JOIN auth_role_parent AS next
      ON next.tenant = above.tenant AND next.role = above.role
  )
  SELECT start INTO cyclic FROM above WHERE start = role LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'role "%" would inherit itself', cyclic.start
      USING ERRCODE = 'check_violation', CONSTRAINT = 'auth_role_parent_acyclic';
  END IF;
  RETURN NULL;
END $$;

-- Signing in (an insert) needs no sequence. A session that ended an hour ago may go unannounced.
CREATE FUNCTION auth_session_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM auth_touch_sessions(ARRAY(
      SELECT (tenant, subject, digest)::auth_session_key FROM before
      WHERE expires_at > now() - interval '1 hour'));
  ELSE
    PERFORM auth_touch_sessions(ARRAY(SELECT (tenant, subject, digest)::auth_session_key FROM (
      (SELECT digest, id, tenant, subject, expires_at, revoked_at FROM before
       EXCEPT SELECT digest, id, tenant, subject, expires_at, revoked_at FROM after)
      UNION
      (SELECT digest, id, tenant, subject, expires_at, revoked_at FROM after
       EXCEPT SELECT digest, id, tenant, subject, expires_at, revoked_at FROM before)
    ) AS touched));
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION auth_truncated() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  each record;
BEGIN
  FOR each IN SELECT shard FROM auth_shard ORDER BY shard LOOP
    UPDATE auth_shard SET seq = seq + 1 WHERE shard = each.shard;
    INSERT INTO auth_outbox (shard, seq, kind, tenant, version)
    SELECT shard, seq, 'flush', '', seq FROM auth_shard WHERE shard = each.shard;
    PERFORM pg_notify('auth_outbox', each.shard::text);
  END LOOP;
  RETURN NULL;
END $$;

DO $$
DECLARE
  watched record;
BEGIN
  FOR watched IN
    SELECT * FROM (VALUES
      ('auth_tenant', 'auth_tenant_changed'),
      ('auth_user', 'auth_user_changed'),
      ('auth_role', 'auth_roles_changed'),
      ('auth_role_parent', 'auth_roles_changed'),
      ('auth_role_rule', 'auth_roles_changed'),
      ('auth_role_grant', 'auth_grants_changed'),
      ('auth_rule_grant', 'auth_grants_changed'),
      ('auth_session', 'auth_session_changed')
    ) AS pairs (name, reaction)
  LOOP
    IF watched.name <> 'auth_session' THEN
      EXECUTE format(
        'CREATE TRIGGER announce_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS after '
        'FOR EACH STATEMENT EXECUTE FUNCTION %I()', watched.name, watched.reaction);
    END IF;
    EXECUTE format(
      'CREATE TRIGGER announce_update AFTER UPDATE ON %I '
      'REFERENCING OLD TABLE AS before NEW TABLE AS after '
      'FOR EACH STATEMENT EXECUTE FUNCTION %I()', watched.name, watched.reaction);
    EXECUTE format(
      'CREATE TRIGGER announce_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS before '
      'FOR EACH STATEMENT EXECUTE FUNCTION %I()', watched.name, watched.reaction);
    EXECUTE format(
      'CREATE TRIGGER announce_truncate AFTER TRUNCATE ON %I '
      'FOR EACH STATEMENT EXECUTE FUNCTION auth_truncated()', watched.name);
  END LOOP;
END $$;

CREATE TRIGGER check_insert AFTER INSERT ON auth_role_parent REFERENCING NEW TABLE AS after
FOR EACH STATEMENT EXECUTE FUNCTION auth_role_parent_check();
CREATE TRIGGER check_update AFTER UPDATE ON auth_role_parent REFERENCING NEW TABLE AS after
FOR EACH STATEMENT EXECUTE FUNCTION auth_role_parent_check();
