-- Tenants, users, roles, grants and sessions; sequences and the outbox of each shard.

-- The same as sidecar.model.shard.shard_of.
CREATE FUNCTION auth_shard_of(tenant text) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (get_byte(sha256(convert_to(tenant, 'UTF8')), 0) % 16)::smallint
$$;

-- The row is locked from the first change of a transaction to its commit, so the order of
-- sequences is the order of commits. Half-filled pages keep the many updates in place.
CREATE TABLE auth_shard (
  shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 15),
  seq bigint NOT NULL DEFAULT 0,
  redis_epoch bigint NOT NULL DEFAULT 0,
  incarnation uuid NOT NULL
) WITH (fillfactor = 50);

INSERT INTO auth_shard (shard, incarnation)
SELECT shard, life.id
FROM generate_series(0, 15) AS shard, (SELECT gen_random_uuid() AS id OFFSET 0) AS life;

CREATE TABLE auth_outbox (
  shard smallint NOT NULL REFERENCES auth_shard,
  seq bigint NOT NULL,
  kind text NOT NULL CHECK (kind IN ('user', 'roles', 'session', 'tenant', 'flush')),
  tenant text NOT NULL,
  subject text NOT NULL DEFAULT '',
  version bigint NOT NULL,
  payload bytea NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (shard, seq)
);
CREATE INDEX auth_outbox_created_at ON auth_outbox (created_at);

-- A slug is ASCII and free of ':' and '/': it stands in keys, fields and addresses.
CREATE TABLE auth_tenant (
  slug text PRIMARY KEY
    CONSTRAINT auth_tenant_slug CHECK (slug ~ '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$'),
  name text NOT NULL DEFAULT '',
  shard smallint NOT NULL GENERATED ALWAYS AS (auth_shard_of(slug)) STORED,
  status text NOT NULL DEFAULT 'active'
    CONSTRAINT auth_tenant_status CHECK (status IN ('active', 'disabled')),
  version bigint NOT NULL DEFAULT 0,
  -- The generation of the role graph.
  roles_version bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

-- A subject goes upstream in a field: no control characters (PROMISES 8).
CREATE TABLE auth_user (
  tenant text NOT NULL REFERENCES auth_tenant ON DELETE CASCADE,
  subject text NOT NULL
    CONSTRAINT auth_user_subject CHECK (subject ~ '^[^[:cntrl:]]{1,255}$' AND subject = btrim(subject)),
  name text NOT NULL DEFAULT '',
  status text NOT NULL DEFAULT 'active'
    CONSTRAINT auth_user_status CHECK (status IN ('active', 'disabled')),
  version bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, subject)
) WITH (fillfactor = 80);

-- Role names stand in a comma-separated field upstream.
CREATE TABLE auth_role (
  tenant text NOT NULL REFERENCES auth_tenant ON DELETE CASCADE,
  name text NOT NULL
    CONSTRAINT auth_role_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$'),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name)
);

CREATE TABLE auth_role_parent (
  tenant text NOT NULL,
  role text NOT NULL,
  parent text NOT NULL,
  PRIMARY KEY (tenant, role, parent),
  CONSTRAINT auth_role_parent_acyclic CHECK (role <> parent),
  CONSTRAINT auth_role_parent_role FOREIGN KEY (tenant, role)
    REFERENCES auth_role ON UPDATE CASCADE ON DELETE CASCADE,
  CONSTRAINT auth_role_parent_parent FOREIGN KEY (tenant, parent)
    REFERENCES auth_role ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX auth_role_parent_children ON auth_role_parent (tenant, parent);

CREATE TABLE auth_role_rule (
  tenant text NOT NULL,
  role text NOT NULL,
  effect text NOT NULL CONSTRAINT auth_role_rule_effect CHECK (effect IN ('allow', 'deny')),
  action text NOT NULL
    CONSTRAINT auth_role_rule_action CHECK (action ~ '^[^[:cntrl:][:space:]]{1,255}$'),
  resource text NOT NULL DEFAULT '*'
    CONSTRAINT auth_role_rule_resource CHECK (resource !~ '[[:cntrl:]]' AND length(resource) BETWEEN 1 AND 1024),
  PRIMARY KEY (tenant, role, effect, action, resource),
  CONSTRAINT auth_role_rule_role FOREIGN KEY (tenant, role)
    REFERENCES auth_role ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE TABLE auth_role_grant (
  tenant text NOT NULL,
  subject text NOT NULL,
  role text NOT NULL,
  resource text NOT NULL DEFAULT '*'
    CONSTRAINT auth_role_grant_resource CHECK (resource !~ '[[:cntrl:]]' AND length(resource) BETWEEN 1 AND 1024),
  expires_at timestamptz,
  PRIMARY KEY (tenant, subject, role, resource),
  CONSTRAINT auth_role_grant_user FOREIGN KEY (tenant, subject)
    REFERENCES auth_user ON UPDATE CASCADE ON DELETE CASCADE,
  CONSTRAINT auth_role_grant_role FOREIGN KEY (tenant, role)
    REFERENCES auth_role ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX auth_role_grant_holders ON auth_role_grant (tenant, role);

CREATE TABLE auth_rule_grant (
  tenant text NOT NULL,
  subject text NOT NULL,
  effect text NOT NULL CONSTRAINT auth_rule_grant_effect CHECK (effect IN ('allow', 'deny')),
  action text NOT NULL
    CONSTRAINT auth_rule_grant_action CHECK (action ~ '^[^[:cntrl:][:space:]]{1,255}$'),
  resource text NOT NULL DEFAULT '*'
    CONSTRAINT auth_rule_grant_resource CHECK (resource !~ '[[:cntrl:]]' AND length(resource) BETWEEN 1 AND 1024),
  expires_at timestamptz,
  PRIMARY KEY (tenant, subject, effect, action, resource),
  CONSTRAINT auth_rule_grant_user FOREIGN KEY (tenant, subject)
    REFERENCES auth_user ON UPDATE CASCADE ON DELETE CASCADE
);

-- Only the SHA-256 of a token is stored; it holds 256 random bits, so it needs no salt.
CREATE TABLE auth_session (
  digest bytea PRIMARY KEY CONSTRAINT auth_session_digest CHECK (octet_length(digest) = 32),
  id text NOT NULL CONSTRAINT auth_session_id UNIQUE,
  tenant text NOT NULL,
  subject text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  version bigint NOT NULL DEFAULT 0,
  CONSTRAINT auth_session_user FOREIGN KEY (tenant, subject)
    REFERENCES auth_user ON UPDATE CASCADE ON DELETE CASCADE
) WITH (fillfactor = 90);
CREATE INDEX auth_session_holder ON auth_session (tenant, subject, created_at);
CREATE INDEX auth_session_expires_at ON auth_session (expires_at);
