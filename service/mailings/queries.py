"""Every statement about mailings."""

from service.delivery.holds import HELD, HOLD_SECONDS
from service.mailings.tally import BLOCKED

OWN_DUE = f"CASE WHEN {HELD} THEN due_at - interval '{HOLD_SECONDS} seconds' ELSE due_at END"
"""When a delivery is due if nothing holds it."""

INSERT = """
INSERT INTO mailing (id, name, source, status, draft, only_zones, canary, made, tally, counted_to, open, later, pace,
    created_at, start_at, look_at)
VALUES ($1, $2, $3, $4, $5, $6, 'none', 0, '{}', 0, '{}', 0, '{}', now(), $7,
    CASE WHEN $4 = 'scheduled' THEN coalesce($7, now()) END)
"""
REPLACE = "UPDATE mailing SET name = $2, draft = $3, start_at = $4 WHERE id = $1"
DELETE = "DELETE FROM mailing WHERE id = $1"
GET = "SELECT *, now() AS now FROM mailing WHERE id = $1"
LOCK = GET + " FOR NO KEY UPDATE"
PARTS = "SELECT zone, planned, made, after, done FROM mailing_part WHERE mailing_id = $1 ORDER BY zone"
PAGE = """
SELECT id, name, source, status, reason, planned, made, created_at, start_at, started_at, ended_at FROM mailing
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR status = $2) ORDER BY id DESC LIMIT $3
"""

UNFINISHED = """
SELECT status, count(*) FROM mailing WHERE status IN ('scheduled', 'running', 'paused') GROUP BY status
"""

# Mailings take turns: whoever has waited longest. Another process is at what is locked.
NEXT = """
SELECT *, now() AS now FROM mailing WHERE look_at <= now() AND id <> ALL($1::uuid[])
ORDER BY look_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
SOONEST = """
SELECT extract(epoch FROM min(look_at) - now())::float8 FROM mailing
WHERE look_at IS NOT NULL AND id <> ALL($1::uuid[])
"""

INSERT_NOTIFICATION = """
INSERT INTO notification (id, source, content, route, category, created_at) VALUES ($1, $2, $3, '[]', $4, now())
"""
INSERT_PARTS = """
INSERT INTO mailing_part (mailing_id, zone, planned, made, after, done)
SELECT $1, zone, planned, 0, 0, false FROM unnest($2::text[], $3::bigint[]) AS p(zone, planned)
"""
ADVANCE = """
UPDATE mailing_part SET after = $3, made = made + $4, done = $5 WHERE mailing_id = $1 AND zone = $2
"""

# What became of the recipients who have not been counted yet: those whose deliveries were made since ($2 on, in the
# order of their ids) and those who were still open ($3). Each counts once: of several devices the best counts, and
# all have to end; where the first sender failed at each of them the last of the chain counts, and where its turn is
# still to come they are open. `ids` are their first deliveries; `active`, `later` and `sending` count deliveries.
# `ready` are held ones whose own time comes within $4 seconds.
_COLUMNS = "d.id, d.recipient_id, d.position, d.status, d.error_kind, d.error_code, d.due_at, d.escalate_at"
COUNT = f"""
WITH seen AS (
    SELECT {_COLUMNS} FROM delivery d WHERE d.notification_id = $1 AND d.id > $2 AND d.position = 0
    UNION ALL SELECT {_COLUMNS} FROM delivery d WHERE d.id = ANY($3::bigint[])
), missed AS (
    SELECT recipient_id FROM seen GROUP BY 1 HAVING bool_and(status IN ('failed', 'suppressed'))
), links AS (
    SELECT * FROM seen
    UNION ALL SELECT l.* FROM missed CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM delivery d
        WHERE d.recipient_id = missed.recipient_id AND d.notification_id = $1 AND d.position > 0 OFFSET 0
    ) l
), placed AS (
    SELECT *, coalesce(min(position) FILTER (WHERE status = 'sent') OVER person, max(position) OVER person) AS link
    FROM links WINDOW person AS (PARTITION BY recipient_id)
), judged AS (
    SELECT *, position = link AND (status IN ('queued', 'sending')
            OR status IN ('failed', 'suppressed') AND escalate_at IS NOT NULL) AS active,
        position = link AND status = 'queued' AND {HELD} AS held, {OWN_DUE} AS own_due
    FROM placed
), people AS (
    SELECT DISTINCT ON (recipient_id) recipient_id, CASE WHEN active THEN 'open' ELSE status END AS outcome,
        CASE WHEN status = 'failed' AND NOT active THEN error_kind END AS kind,
        CASE WHEN status = 'suppressed' AND NOT active THEN error_code END AS code
    FROM judged WHERE position = link
    ORDER BY recipient_id, active DESC,
        array_position(ARRAY['sent', 'unknown', 'failed', 'expired', 'cancelled', 'suppressed'], status),
        error_kind = '{BLOCKED}', id
)
SELECT p.outcome, p.kind, p.code, count(DISTINCT p.recipient_id) AS people, max(j.id) FILTER (WHERE j.position = 0) AS last_id,
    array_agg(j.id ORDER BY j.id) FILTER (WHERE j.position = 0) AS ids,
    count(*) FILTER (WHERE j.active) AS active,
    count(*) FILTER (WHERE j.active AND j.own_due > now() + interval '1 minute') AS later,
    count(*) FILTER (WHERE j.status = 'sending') AS sending,
    array_agg(j.id ORDER BY j.own_due, j.id)
        FILTER (WHERE j.held AND j.own_due <= now() + $4 * interval '1 second') AS ready
FROM people p JOIN judged j USING (recipient_id) GROUP BY 1, 2, 3
"""  # noqa: S608 - constants only

# Who moved to another zone while the walk was under way is come to twice.
SERVED = """
SELECT DISTINCT recipient_id FROM delivery WHERE recipient_id = ANY($1::bigint[]) AND notification_id = $2
"""

# What may be open: what was when it was counted ($2), the links that took over from it, and all since ($3).
# OFFSET 0 keeps the links from being joined with all deliveries of the mailing.
_OURS = """
    SELECT d.id FROM delivery d JOIN (
        SELECT unnest($2::bigint[]) AS id
        UNION SELECT id FROM delivery WHERE notification_id = $1 AND id > $3
        UNION SELECT l.id FROM delivery s CROSS JOIN LATERAL (
            SELECT f.id FROM delivery f WHERE f.recipient_id = s.recipient_id
              AND f.notification_id = s.notification_id AND f.position > 0 OFFSET 0
        ) l WHERE s.id = ANY($2::bigint[]) AND s.status IN ('failed', 'suppressed')
    ) o ON o.id = d.id
    WHERE d.status = 'queued'"""
# What waits goes out of everybody's reach, keeping its order. What is skipped is being claimed at this
# moment: its dispatcher puts it back.
HOLD_ROWS = f"""
UPDATE delivery SET due_at = due_at + interval '{HOLD_SECONDS} seconds',
    send_at = greatest(send_at, due_at) + interval '{HOLD_SECONDS} seconds', behind = false
WHERE id IN ({_OURS} AND NOT {HELD} FOR UPDATE OF d SKIP LOCKED)
"""  # noqa: S608 - constants only
RELEASE = """
UPDATE delivery d SET due_at = g.at, send_at = g.at
FROM unnest($1::bigint[], $2::timestamptz[]) AS g(id, at) WHERE d.id = g.id AND d.status = 'queued'
"""
# Zones ($4) are closed until they open ($5): what is due there before waits until then; where there is a rate of its
# own ($6) it is held, to get its turn then.
PUT_OFF = f"""
UPDATE delivery w SET due_at = late.at, send_at = late.at, behind = false
FROM (
    SELECT d.id, z.opens_at + CASE WHEN $6 THEN interval '{HOLD_SECONDS} seconds' ELSE interval '0' END AS at
    FROM delivery d JOIN unnest($4::text[], $5::timestamptz[]) AS z(zone, opens_at) ON z.zone = d.facts ->> 'zone'
    WHERE d.id IN ({_OURS}) AND {OWN_DUE} < z.opens_at FOR UPDATE OF d SKIP LOCKED
) late
WHERE w.id = late.id RETURNING w.id
"""  # noqa: S608 - constants only
CANCEL_ROWS = f"""
UPDATE delivery SET status = 'cancelled', finished_at = now(), error_kind = NULL, error_code = NULL, error_text = NULL
WHERE id IN ({_OURS} LIMIT $4 FOR UPDATE OF d SKIP LOCKED)
RETURNING id
"""  # noqa: S608 - constants only
# Escalations of what was sent: no count comes to them. Only what is held is due so late, so that the
# index of what is due finds them.
HELD_ESCALATIONS = f"""
SELECT d.id FROM delivery d
WHERE d.status = 'queued' AND d.sender = ANY($2::text[]) AND d.priority = $3 AND {HELD}
  AND d.notification_id = $1 AND d.position > 0 ORDER BY d.id LIMIT $4
"""  # noqa: S608 - constants only
NO_MORE_ESCALATIONS = """
UPDATE delivery SET escalate_at = NULL WHERE escalate_at IS NOT NULL AND notification_id = $1
"""
CANCEL_FOLLOWING = """
UPDATE delivery SET status = 'cancelled', finished_at = now(), error_kind = NULL, error_code = NULL, error_text = NULL
WHERE id = ANY($1::bigint[]) AND status = 'queued' RETURNING id
"""

RESULTS = """
SELECT d.id, d.facts ->> 'recipient' AS recipient, d.sender, d.address, d.position, d.status, d.attempt,
    d.error_kind, d.error_code, d.error_text, d.created_at, d.finished_at
FROM delivery d WHERE d.notification_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3
"""

# The deliveries of a mailing leave a few at a time, and its notification with the last of them.
RETIRABLE = """
SELECT id, notification_id, draft FROM mailing WHERE ended_at < $1 AND retired_at IS NULL
ORDER BY ended_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
RETIRE = """
WITH old AS (
    SELECT id FROM delivery WHERE notification_id = $1 ORDER BY id LIMIT $2
), deliveries AS (
    DELETE FROM delivery d USING old WHERE d.id = old.id RETURNING d.id
), logs AS (
    DELETE FROM delivery_log l USING deliveries d WHERE l.delivery_id = d.id
)
SELECT count(*) FROM deliveries
"""

INSERT_MEMBERS = """
WITH given AS (
    SELECT DISTINCT id FROM unnest($2::text[]) AS g(id)
), known AS (
    SELECT r.id, r.external_id FROM given JOIN recipient r ON r.external_id = given.id
), made AS (
    INSERT INTO audience_member (list_id, recipient_id) SELECT $1, id FROM known ORDER BY id
    ON CONFLICT DO NOTHING RETURNING recipient_id
)
SELECT (SELECT count(*) FROM made) AS fresh,
    ARRAY(SELECT id FROM given EXCEPT SELECT external_id FROM known ORDER BY 1) AS unknown
"""
# A list that is being emptied is not whole any more, so that nobody begins to use the rest of it.
DROP_MEMBERS = """
WITH list AS (UPDATE audience_list SET members = NULL WHERE id = $1 AND members IS NOT NULL)
DELETE FROM audience_member WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM audience_member WHERE list_id = $1 LIMIT $2))
"""
# Lists that no mailing can use: unfinished for a day, replaced, or of mailings that are over.
STRAY_LISTS = """
SELECT l.id FROM audience_list l WHERE l.created_at < now() - interval '1 day' AND NOT EXISTS (
    SELECT 1 FROM mailing m WHERE m.draft #>> '{audience,uploaded}' = l.id::text
      AND m.status IN ('draft', 'scheduled', 'running', 'paused'))
ORDER BY l.id
"""
