"""The statements of templates."""

_VERSION = "v.id, t.key, v.number, v.author, v.created_at, v.default_locale, v.params, v.variants"

# The newest version of each key that is in use. One look-up in each of two indexes for a key.
LOAD_CURRENT = f"""
SELECT {_VERSION}
FROM unnest($1::text[]) AS wanted (key)
JOIN template t ON t.key = wanted.key AND t.archived_at IS NULL
CROSS JOIN LATERAL (
    SELECT * FROM template_version WHERE template_id = t.id ORDER BY number DESC LIMIT 1
) v
"""  # noqa: S608 - joined from constants

LOAD_VERSIONS = f"""
SELECT {_VERSION} FROM template_version v JOIN template t ON t.id = v.template_id WHERE v.id = ANY($1::bigint[])
"""  # noqa: S608 - joined from constants

LOAD_NUMBER = f"""
SELECT {_VERSION} FROM template t JOIN template_version v ON v.template_id = t.id WHERE t.key = $1 AND v.number = $2
"""  # noqa: S608 - joined from constants

# The newest templates first, each with its current version. $3: used, archived or all.
LIST_TEMPLATES = f"""
SELECT t.id AS template_id, t.archived_at, {_VERSION}
FROM template t
CROSS JOIN LATERAL (
    SELECT * FROM template_version WHERE template_id = t.id ORDER BY number DESC LIMIT 1
) v
WHERE ($1::bigint IS NULL OR t.id < $1) AND ($3 = 'all' OR ($3 = 'archived') = (t.archived_at IS NOT NULL))
ORDER BY t.id DESC LIMIT $2
"""  # noqa: S608 - joined from constants

LIST_VERSIONS = f"""
SELECT {_VERSION}
FROM template t JOIN template_version v ON v.template_id = t.id
WHERE t.key = $1 AND ($2::bigint IS NULL OR v.number < $2)
ORDER BY v.number DESC LIMIT $3
"""  # noqa: S608 - joined from constants

# The row of the template is locked from here to the commit, so that versions are numbered one by one.
CLAIM_TEMPLATE = """
INSERT INTO template AS t (key, created_at) VALUES ($1, now())
ON CONFLICT (key) DO UPDATE SET key = excluded.key
RETURNING t.id, t.archived_at
"""

REVIVE_TEMPLATE = "UPDATE template SET archived_at = NULL WHERE id = $1"

INSERT_VERSION = """
INSERT INTO template_version (template_id, number, author, created_at, default_locale, params, variants)
SELECT $1, coalesce(max(number), 0) + 1, $2, now(), $3, $4::jsonb, $5::jsonb
FROM template_version WHERE template_id = $1
RETURNING id, number, created_at
"""

ARCHIVE_TEMPLATE = (
    "UPDATE template SET archived_at = now() WHERE key = $1 AND archived_at IS NULL RETURNING id"
)
