"""Every statement about triggers.

A transaction locks the triggers it is about first, in the order of their ids, and then what waits for them:
so two of them wait for each other and never in a circle. Moments are arguments, so that a test's clock rules.
"""

# What is due soon, the longest waiting first: one range of an index, whatever else there is.
DUE = """
SELECT id, trigger_id, due_at FROM trigger_due
WHERE NOT held AND due_at <= $1 ORDER BY due_at LIMIT $2
"""

_TRIGGER = "id, name, kind, draft, state, anchor_at, runs, error, last_run_at, created_at, updated_at"

LOCK_OF_DUE = f"""
SELECT {_TRIGGER} FROM trigger
WHERE id IN (SELECT trigger_id FROM trigger_due WHERE id = ANY($1::bigint[]))
ORDER BY id FOR NO KEY UPDATE
"""  # noqa: S608 - a constant

# The compare-and-set: what another process has fired is gone or has another moment.
TAKE_DUE = """
SELECT d.id, d.trigger_id, d.repeats, d.zone, d.occurrence, d.due_at, d.attempt, d.event
FROM unnest($1::bigint[], $2::timestamptz[]) AS g(id, due_at)
JOIN trigger_due d ON d.id = g.id AND d.due_at = g.due_at
WHERE NOT d.held ORDER BY d.due_at, d.id FOR UPDATE OF d
"""

MOVE_DUE = """
UPDATE trigger_due d SET occurrence = g.occurrence, due_at = g.due_at, attempt = 0
FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) AS g(id, occurrence, due_at)
WHERE d.id = g.id
"""
DELETE_DUE = "DELETE FROM trigger_due WHERE id = ANY($1::bigint[])"
PUT_OFF = """
WITH later AS (UPDATE trigger_due SET due_at = $3 WHERE id = $1 AND due_at = $2 RETURNING trigger_id)
UPDATE trigger t SET error = $4 FROM later WHERE t.id = later.trigger_id
"""

INSERT_DUE = """
INSERT INTO trigger_due (trigger_id, repeats, held, zone, occurrence, due_at, attempt, event, correlation)
SELECT trigger_id, repeats, held, zone, occurrence, due_at, attempt, event::json, correlation
FROM unnest($1::uuid[], $2::boolean[], $3::boolean[], $4::text[], $5::timestamptz[], $6::timestamptz[],
    $7::smallint[], $8::text[], $9::text[])
    AS g(trigger_id, repeats, held, zone, occurrence, due_at, attempt, event, correlation)
ON CONFLICT DO NOTHING
"""

INSERT_RUNS = """
INSERT INTO trigger_run (trigger_id, zone, occurrence, fired_at, attempt, outcome, notification_id, mailing_id,
    error, retry_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::smallint[], $6::text[],
    $7::uuid[], $8::uuid[], $9::text[], $10::timestamptz[])
RETURNING id
"""

# What was fired counts; what ran last decides what the trigger shows. A trigger ends when nothing waits any more;
# one that waits for events or for people only when its runs are used up or its time is over ($2), too.
RAN = """
WITH ran AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $5::boolean[])
        AS g(id, runs, error, used_up)
), dropped AS (
    DELETE FROM trigger_due d USING ran g
    WHERE d.trigger_id = g.id AND g.used_up AND (d.repeats OR d.attempt = 0)
)
UPDATE trigger t SET runs = t.runs + g.runs, last_run_at = $4, error = g.error
FROM ran g WHERE t.id = g.id
"""
END = """
UPDATE trigger t SET state = CASE WHEN t.error IS NULL THEN 'finished' ELSE 'failed' END
WHERE t.id = ANY($1::uuid[]) AND t.state = 'active'
  AND (t.kind NOT IN ('event', 'recipient-cron') OR t.id = ANY($2::uuid[]))
  AND NOT EXISTS (SELECT 1 FROM trigger_due d WHERE d.trigger_id = t.id)
"""

# Rules that an event may concern, those it would fire and those it may take something back from.
LOCK_FOR_EVENTS = f"""
SELECT {_TRIGGER}, event, cancel_event FROM trigger
WHERE id IN (
    SELECT id FROM trigger WHERE state = 'active' AND event = ANY($1::text[])
    UNION SELECT id FROM trigger WHERE state = 'active' AND cancel_event = ANY($1::text[])
)
ORDER BY id FOR NO KEY UPDATE
"""  # noqa: S608 - a constant
SEE_EVENTS = """
INSERT INTO seen_event (key, at)
SELECT key, $2 FROM unnest($1::text[]) AS g(key) ORDER BY key
ON CONFLICT DO NOTHING RETURNING key
"""
TAKE_BACK = """
DELETE FROM trigger_due WHERE trigger_id = $1 AND correlation = $2 AND NOT repeats AND attempt = 0 RETURNING id
"""

INSERT = """
INSERT INTO trigger (id, name, kind, draft, event, cancel_event, list_id, state, anchor_at, runs, zones_at, created_at,
    updated_at)
VALUES ($1, $2, $3, $4::json, $5, $6, $7, 'active', $8, 0, $8, $8, $8)
ON CONFLICT (name) DO NOTHING RETURNING id
"""
REPLACE = """
UPDATE trigger SET name = $2, kind = $3, draft = $4::json, event = $5, cancel_event = $6, list_id = $7, error = NULL,
    state = $8, zones_at = $9, updated_at = $9
WHERE id = $1
"""
LOCK = f"SELECT {_TRIGGER} FROM trigger WHERE id = $1 FOR NO KEY UPDATE"  # noqa: S608 - a constant
SET_STATE = "UPDATE trigger SET state = $2, updated_at = $3 WHERE id = $1"
DELETE = "DELETE FROM trigger WHERE id = $1 RETURNING name"
HOLD = "UPDATE trigger_due SET held = true WHERE trigger_id = $1"
# What became due meanwhile was not missed.
LET_GO = "UPDATE trigger_due SET held = false, due_at = greatest(due_at, $2) WHERE trigger_id = $1"
DROP_CLOCK = "DELETE FROM trigger_due WHERE trigger_id = $1 AND repeats"
DROP_ALL = "DELETE FROM trigger_due WHERE trigger_id = $1"

_SHOWN = f"""
SELECT t.*, w.next_fire_at, w.waiting
FROM (SELECT {_TRIGGER} FROM trigger {{chosen}}) t
CROSS JOIN LATERAL (
    SELECT (SELECT min(occurrence) FROM trigger_due WHERE trigger_id = t.id AND repeats AND NOT held) AS next_fire_at,
        (SELECT count(*) FROM (
            SELECT 1 FROM trigger_due WHERE trigger_id = t.id AND NOT repeats LIMIT $1
        ) counted) AS waiting
) w
"""  # noqa: S608 - a constant
GET = _SHOWN.format(chosen="WHERE id = $2")
# A page of each state and kind is a range of an index; the pages are merged.
_PAGE = """WHERE id IN (
        SELECT f.id FROM unnest($3::text[]) s(state) CROSS JOIN unnest($4::text[]) k(kind) CROSS JOIN LATERAL (
            SELECT f.id FROM trigger f WHERE f.state = s.state AND f.kind = k.kind AND f.id < $2
            ORDER BY f.id DESC LIMIT $5
        ) f ORDER BY f.id DESC LIMIT $5
    )"""
PAGE = _SHOWN.format(chosen=_PAGE) + "ORDER BY t.id DESC"
RUNS = """
SELECT id, zone, occurrence, fired_at, attempt, outcome, notification_id, mailing_id, error, retry_at FROM trigger_run
WHERE trigger_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""
RUN = """
SELECT id, zone, occurrence, fired_at, attempt, outcome, notification_id, mailing_id, error, retry_at FROM trigger_run
WHERE id = $1
"""

LISTS_IN_USE = "SELECT DISTINCT list_id FROM trigger WHERE list_id = ANY($1::uuid[])"

STALE_ZONES = f"""
SELECT {_TRIGGER} FROM trigger
WHERE state = 'active' AND kind = 'recipient-cron' AND zones_at < $1
ORDER BY zones_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant
ZONES_SEEN = "UPDATE trigger SET zones_at = $2 WHERE id = $1"
DROP_ZONES = "DELETE FROM trigger_due WHERE trigger_id = $1 AND repeats AND zone <> ALL($2::text[])"

RETIRE_RUNS = """
DELETE FROM trigger_run WHERE id IN (SELECT id FROM trigger_run WHERE fired_at < $1 ORDER BY fired_at LIMIT $2)
"""
RETIRE_EVENTS = """
DELETE FROM seen_event WHERE key IN (SELECT key FROM seen_event WHERE at < $1 ORDER BY at LIMIT $2)
"""

# What a person's events wait for.
OF_PERSON = """
SELECT t.name AS trigger, d.occurrence, d.due_at, d.event
FROM trigger_due d JOIN trigger t ON t.id = d.trigger_id
WHERE d.event IS NOT NULL AND d.event ->> 'recipient' = $1 ORDER BY d.id LIMIT $2
"""
FORGET_PERSON = "DELETE FROM trigger_due WHERE event IS NOT NULL AND event ->> 'recipient' = $1"
