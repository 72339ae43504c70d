"""The statements of the hot path. Each is one round trip and one commit for a whole batch.

Batches travel as arrays (`unnest`), one element a row. Times come from the database's clock, so
that replicas agree. A *lane* is one (sender, address, priority): its rows leave one after the
other, in the order of their ids.

`(id IN (SELECT …)) IS TRUE` asks a hash for each row of a batch. Written as a join it would be a
nested loop over the batch, since the planner is kept from hash joins on this connection.
"""

# Puts a batch of requests into the tables and reports what was new.
#
# - A row whose key is taken is skipped; the caller looks up what it repeats.
# - A delivery is born leased to this process ($21) when its dispatcher has room for it (`offered`),
#   unless an earlier row of its lane waits for somebody else, or its account or address is pausing.
# - Deliveries are numbered in the order of the batch, which is the order of acceptance.
# - `extra` is null but for recipients, topics and templates: whom it is for and how to speak to them
#   (`facts`), why they do not get it (`suppressed`), the person's further `devices`, which get rows beside the
#   first, or the topic whose subscribers get theirs later.
INSERT_REQUESTS = """
WITH item AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::smallint[], $12::timestamptz[], $13::timestamptz[], $14::bool[],
        $15::float8[], $16::text[], $17::text[], $23::jsonb[], $18::bool[], $19::bool[]
    ) WITH ORDINALITY AS t(
        id, dedup_key, content_hash, request_id, source, content, route, category,
        sender, address, priority, send_at, expires_at, hold_unknown,
        spacing, pacing_key, event, extra, offered, ordered, ord)
), fresh AS (
    INSERT INTO notification (id, dedup_key, content_hash, request_id, source, content, route, category, created_at)
    SELECT id, dedup_key, content_hash, request_id, source, content::json, route::jsonb, category, now()
    FROM item ORDER BY ord
    ON CONFLICT DO NOTHING
    RETURNING id
), pausing AS MATERIALIZED (
    SELECT substr(bucket, 9) AS sender FROM pacing_bucket
    WHERE bucket IN (SELECT DISTINCT 'account:' || sender FROM item) AND next_at > now()
), placed AS (
    SELECT i.*, i.offered AND (i.sender IN (SELECT sender FROM pausing)) IS NOT TRUE AND NOT EXISTS (
            SELECT 1 FROM delivery e
            WHERE i.ordered AND e.sender = i.sender AND e.address = i.address AND e.priority = i.priority
              AND e.status IN ('queued', 'sending') AND e.send_at <= now()
              AND e.lease_token IS DISTINCT FROM $21
        ) AND NOT EXISTS (
            SELECT 1 FROM pacing_bucket b
            WHERE b.bucket = 'address:' || i.sender || ':' || i.pacing_key AND b.next_at > now()
        ) AS leased
    FROM item i WHERE (i.id IN (SELECT id FROM fresh)) IS TRUE
), made AS (
    INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, spacing,
        pacing_key, send_at, due_at, expires_at, lease_token, lease_until, created_at,
        behind, started, attempt, lost_leases,
        recipient_id, facts, finished_at, error_kind, error_code, error_text)
    SELECT id, 0, sender, address, priority,
        CASE WHEN leased THEN 'sending' WHEN extra ? 'suppressed' THEN 'suppressed' ELSE 'queued' END, hold_unknown,
        spacing, pacing_key, coalesce(send_at, now()), coalesce(send_at, now()), expires_at,
        CASE WHEN leased THEN $21::uuid END, CASE WHEN leased THEN now() + $22 * interval '1 second' END, now(),
        false, false, 0, 0,
        (extra ->> 'recipient_id')::bigint, extra -> 'facts', CASE WHEN extra ? 'suppressed' THEN now() END,
        CASE WHEN extra ? 'suppressed' THEN 'suppressed' END,
        extra -> 'suppressed' ->> 0, extra -> 'suppressed' ->> 1
    FROM placed WHERE (extra ? 'topic') IS NOT TRUE ORDER BY ord
    RETURNING id, notification_id, status, created_at
), beside AS (
    INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, spacing,
        pacing_key, send_at, due_at, expires_at, created_at, behind, started, attempt, lost_leases, recipient_id, facts)
    SELECT id, 0, sender, device ->> 0, priority, 'queued', hold_unknown, (device ->> 1)::float8, device ->> 2,
        coalesce(send_at, now()), coalesce(send_at, now()), expires_at, now(), false, false, 0, 0,
        (extra ->> 'recipient_id')::bigint, extra -> 'facts'
    FROM placed CROSS JOIN LATERAL jsonb_array_elements(extra -> 'devices') AS device
    WHERE extra ? 'devices' ORDER BY ord
), fanned AS (
    INSERT INTO fan_out (notification_id, topic, request, template_version, after, created_at)
    SELECT id, extra ->> 'topic', (extra ->> 'request')::json, (content::json ->> 'template_version')::bigint, 0, now()
    FROM placed WHERE extra ? 'topic'
    RETURNING notification_id, created_at
), told AS (
    INSERT INTO outbox (transport, channel, types, subjects, bodies)
    SELECT transport, 'events', types, subjects, bodies
    FROM unnest($20::text[]) AS transport, (
        SELECT array_agg(CASE WHEN extra ? 'suppressed' THEN 'suppressed' ELSE 'accepted' END ORDER BY ord) AS types, array_agg(id::text ORDER BY ord) AS subjects,
            array_agg(event ORDER BY ord) AS bodies
        FROM placed
    ) AS batch
    WHERE batch.types IS NOT NULL
)
SELECT notification_id, id, status, created_at FROM made
UNION ALL
SELECT notification_id, NULL, 'fan_out', created_at FROM fanned
"""

# `suppressed` is null for a topic, whose subscribers each have a reason of their own.
FIND_REPEATED = """
SELECT id, dedup_key, content_hash, request_id, CASE WHEN route <> '[]' THEN (
    SELECT d.error_code FROM delivery d WHERE d.notification_id = n.id AND d.status = 'suppressed'
      AND NOT EXISTS (SELECT 1 FROM delivery o WHERE o.notification_id = n.id AND o.status <> 'suppressed')
    ORDER BY d.id LIMIT 1
) END AS suppressed
FROM notification n
WHERE dedup_key = ANY($1::text[]) OR id = ANY($2::uuid[])
"""

# Leases due rows of one sender, most urgent first, and says when the rest has to be looked at again.
#
# $1 sender, $2 rows wanted, $3 lease token, $4 lease seconds, $5 rows looked at, $6 priorities.
# `budget` is what pacing lets out; the paced form also moves the account's bucket on by what was
# taken (GCRA without bursts: one slot every `interval` seconds, up to `horizon` seconds ahead).
#
# A lane's rows may be taken only from its head on: `fence` is the first row of each lane that is in
# the way, waiting or held by another process. What stands behind it is put off until the fence can
# have moved, with `behind` set so that settling the fence wakes it at once. Rows with
# `spacing` are taken one at a time for each pacing key, when its bucket allows it.
_CLAIM = """
WITH {budget},
cand AS MATERIALIZED (
    SELECT d.*
    FROM unnest($6::smallint[]) AS lane(priority)
    CROSS JOIN LATERAL (
        SELECT q.id, q.address, q.priority, q.spacing, q.pacing_key, q.due_at, q.send_at
        FROM delivery q
        WHERE q.sender = $1 AND q.status = 'queued' AND q.priority = lane.priority AND q.due_at <= now()
          AND (SELECT n FROM budget) > 0
        ORDER BY q.due_at, q.id
        LIMIT $5
        FOR UPDATE SKIP LOCKED
    ) d
    LIMIT $5
), ranked AS (
    SELECT *, row_number() OVER ({lane} ORDER BY id) AS rank,
        row_number() OVER (PARTITION BY pacing_key ORDER BY priority, id) AS turn
    FROM cand
), judged AS (
    SELECT r.*, b.next_at AS address_next, min(r.due_at) OVER lane AS lane_due,
        min(f.id) OVER lane AS fence_id, min(f.status) OVER lane AS fence_status, min(f.due_at) OVER lane AS fence_due
    FROM ranked r
    {fence}
    LEFT JOIN pacing_bucket b ON b.bucket = 'address:' || $1 || ':' || r.pacing_key
    WINDOW lane AS ({lane_of_r})
), free AS (
    SELECT *, (fence_id IS NULL OR id < fence_id) AND coalesce(address_next <= now(), true)
        AND (spacing = 0 OR turn = 1) AS ok
    FROM judged
), picked AS (
    SELECT id, priority, address, spacing, pacing_key, row_number() OVER (ORDER BY priority, lane_due, address, id) - 1 AS slot
    FROM free WHERE ok
    ORDER BY priority, lane_due, address, id
    LIMIT (SELECT n FROM budget)
), put_off AS (
    UPDATE delivery d SET behind = f.rank > 1 OR coalesce(f.fence_id < f.id, false), due_at = CASE
        WHEN f.fence_id < f.id AND f.fence_status = 'queued' AND f.fence_due > now() THEN f.fence_due
        WHEN f.spacing > 0 AND coalesce(f.fence_id > f.id, true)
            THEN greatest(f.address_next, now()) + (f.turn - 1) * f.spacing * interval '1 second'
        WHEN f.address_next > now() THEN f.address_next
        ELSE now() + least(greatest((now() - f.send_at) / 2, interval '0.25 second'), interval '1 minute')
        END
    FROM free f WHERE d.id = f.id AND NOT f.ok
), {spend}
spaced AS (
    INSERT INTO pacing_bucket (bucket, next_at)
    SELECT 'address:' || $1 || ':' || pacing_key,
        max((SELECT start FROM budget) + (slot * (SELECT every FROM budget) + spacing) * interval '1 second')
    FROM picked WHERE spacing > 0 GROUP BY pacing_key
    ON CONFLICT (bucket) DO UPDATE SET next_at = greatest(pacing_bucket.next_at, excluded.next_at)
), taken AS (
    UPDATE delivery d SET status = 'sending', behind = false, lease_token = $3,
        lease_until = now() + $4 * interval '1 second'
    FROM picked p WHERE d.id = p.id
    RETURNING d.id, d.notification_id, d.address, d.priority, d.expires_at, d.hold_unknown, d.spacing, d.pacing_key, d.attempt,
        d.provider_ids, d.position, d.recipient_id, d.facts, d.throttled_at, p.slot
)
SELECT t.*, n.request_id, n.content, n.created_at,
    greatest(extract(epoch FROM (SELECT start FROM budget) - now()), 0)::float8 + t.slot * (SELECT every FROM budget)
        AS wait
FROM taken t JOIN notification n ON n.id = t.notification_id
ORDER BY t.slot
"""

_BUDGET_FREE = """
budget AS MATERIALIZED (
    SELECT CASE WHEN coalesce((SELECT next_at FROM pacing_bucket WHERE bucket = 'account:' || $1), now()) <= now()
        THEN $2::int ELSE 0 END AS n, now() AS start, 0::float8 AS every
)"""

_BUDGET_PACED = """
account AS MATERIALIZED (
    SELECT next_at FROM pacing_bucket WHERE bucket = 'account:' || $1 FOR UPDATE
), budget AS MATERIALIZED (
    SELECT greatest(0, least($2::int,
            1 + floor(extract(epoch FROM now() + $8 * interval '1 second' - greatest(next_at, now())) / $7)::int)) AS n,
        greatest(next_at, now()) AS start, $7::float8 AS every
    FROM account
)"""

_SPEND_PACED = """
spent AS (
    UPDATE pacing_bucket SET next_at = (SELECT start FROM budget)
        + (SELECT count(*) FROM picked) * $7 * interval '1 second'
    WHERE bucket = 'account:' || $1 AND EXISTS (SELECT 1 FROM picked)
),"""

# Looked up once a lane, for its first row; the window hands it to the others.
_FENCE = """LEFT JOIN LATERAL (
        SELECT e.id, e.status, e.due_at FROM delivery e
        WHERE r.rank = 1 AND e.sender = $1 AND e.address = r.address AND e.priority = r.priority
          AND e.status IN ('queued', 'sending') AND e.send_at <= now()
          AND e.lease_token IS DISTINCT FROM $3 AND e.id NOT IN (SELECT id FROM cand)
        ORDER BY e.id LIMIT 1
    ) f ON true"""

_NO_FENCE = """CROSS JOIN (
        SELECT NULL::bigint AS id, NULL::text AS status, NULL::timestamptz AS due_at
    ) f"""


def claim(*, paced: bool, ordered: bool) -> str:
    """The claim statement for a sender of that kind. A paced one takes $7 interval and $8 horizon too."""
    return _CLAIM.format(
        budget=_BUDGET_PACED if paced else _BUDGET_FREE,
        spend=_SPEND_PACED if paced else "",
        fence=_FENCE if ordered else _NO_FENCE,
        lane="PARTITION BY address, priority" if ordered else "PARTITION BY id",
        lane_of_r="PARTITION BY r.address, r.priority" if ordered else "PARTITION BY r.id",
    )


NEXT_DUE = """
SELECT extract(epoch FROM min(d.due_at) - now())::float8
FROM (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS lane(priority)
CROSS JOIN LATERAL (
    SELECT q.due_at FROM delivery q
    WHERE q.sender = $1 AND q.status = 'queued' AND q.priority = lane.priority
    ORDER BY q.due_at LIMIT 1
) d
"""

# Writes a batch of verdicts. Only rows still leased to this process ($16) change: whoever lost its
# lease has nothing to say. In the same commit: the log, the next sender of a fallback chain where
# one failed for good, or is not wanted, and nobody acknowledged another (where it is one of several devices,
# housekeeping looks whether it was the last), contacts that lead nowhere any more or whose chat has moved, waking what waited behind a finished row, and the events. A verdict of the kind `quiet` moves the delivery's own time, so that it stands in
# nobody's way meanwhile.
SETTLE = """
WITH verdict AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::float8[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::text[], $12::text[], $18::text[]
    ) WITH ORDINALITY AS t(
        id, status, delay, attempt, kind, code, reason, parts, address, event, logged, body, subject, ord)
), settled AS (
    UPDATE delivery d SET
        status = v.status, attempt = v.attempt, lease_token = NULL, lease_until = NULL, started = false,
        due_at = CASE WHEN v.status = 'queued' THEN now() + v.delay * interval '1 second' ELSE d.due_at END,
        send_at = CASE WHEN v.kind = 'quiet' THEN now() + v.delay * interval '1 second' ELSE d.send_at END,
        escalate_at = CASE WHEN v.status = 'sent' AND d.acknowledged_at IS NULL
            THEN now() + (d.facts ->> 'escalate_after')::float8 * interval '1 second'
            WHEN v.status IN ('failed', 'suppressed') AND (d.facts -> 'devices') @> to_jsonb(d.position) THEN now() END,
        error_kind = CASE WHEN v.logged IS NULL AND v.status = 'queued' THEN d.error_kind ELSE v.kind END,
        error_code = CASE WHEN v.logged IS NULL AND v.status = 'queued' THEN d.error_code ELSE v.code END,
        error_text = CASE WHEN v.logged IS NULL AND v.status = 'queued' THEN d.error_text ELSE v.reason END,
        throttled_at = CASE WHEN v.kind = 'throttled' THEN coalesce(d.throttled_at, now())
            WHEN v.logged IS NULL AND v.status = 'queued' THEN d.throttled_at END,
        provider_ids = string_to_array(v.parts, E'\\x1f'), address = coalesce(v.address, d.address),
        finished_at = CASE WHEN v.status NOT IN ('queued', 'unknown') THEN now() END
    FROM verdict v
    WHERE d.id = v.id AND d.lease_token = $16
    RETURNING d.id, d.notification_id, d.position, d.sender, d.address, d.priority, d.status, d.hold_unknown,
        d.expires_at, d.recipient_id, d.facts, d.acknowledged_at, d.error_kind, d.error_text
), gone AS (
    UPDATE contact c SET active = false, inactive_at = now(), inactive_reason = coalesce(s.error_text, 'gone')
    FROM settled s
    WHERE s.error_kind = 'gone' AND c.address = s.address AND c.active
        AND c.sender = CASE WHEN s.sender = ANY($19::text[]) THEN split_part(s.sender, ':', 1) ELSE s.sender END
), moved AS (
    SELECT DISTINCT d.address AS before, v.address AS after,
        CASE WHEN d.sender = ANY($19::text[]) THEN split_part(d.sender, ':', 1) ELSE d.sender END AS sender
    FROM verdict v JOIN delivery d ON d.id = v.id
    WHERE v.address IS NOT NULL AND v.address <> d.address AND (v.id IN (SELECT id FROM settled)) IS TRUE
), followed AS (
    UPDATE contact c SET
        address = CASE WHEN n.id IS NULL THEN m.after ELSE c.address END,
        active = c.active AND n.id IS NULL,
        inactive_at = CASE WHEN n.id IS NULL THEN c.inactive_at ELSE coalesce(c.inactive_at, now()) END,
        inactive_reason = CASE WHEN n.id IS NULL THEN c.inactive_reason
            ELSE coalesce(c.inactive_reason, 'it has moved to ' || m.after) END
    FROM moved m JOIN contact old ON old.address = m.before AND old.sender = m.sender
    LEFT JOIN contact n ON n.recipient_id = old.recipient_id AND n.sender = m.sender AND n.address = m.after
    WHERE c.id = old.id AND c.address = m.before
), logged AS (
    INSERT INTO delivery_log (delivery_id, at, event, attempt, error_kind, error_code, error_text)
    SELECT v.id, now(), v.logged, v.attempt, v.kind, v.code, v.reason
    FROM verdict v WHERE v.logged IS NOT NULL AND (v.id IN (SELECT id FROM settled)) IS TRUE ORDER BY v.ord
), fallback AS (
    INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, spacing,
        pacing_key, send_at, due_at, expires_at, created_at, behind, started, attempt, lost_leases, recipient_id, facts)
    SELECT s.notification_id, s.position + 1, hop ->> 0, hop ->> 1, s.priority, 'queued', s.hold_unknown,
        (hop ->> 2)::float8, hop ->> 3, now(), now(), s.expires_at, now(), false, false, 0, 0, s.recipient_id, s.facts
    FROM settled s JOIN notification n ON n.id = s.notification_id
    CROSS JOIN LATERAL (SELECT coalesce(s.facts -> 'route', n.route) -> (s.position + 1) AS link) l
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(link -> 0) = 'array' THEN link ELSE jsonb_build_array(link) END) AS hop
    WHERE s.status IN ('failed', 'suppressed') AND link IS NOT NULL AND s.acknowledged_at IS NULL
      AND ((s.facts -> 'devices') @> to_jsonb(s.position)) IS NOT TRUE
    RETURNING sender
), woken AS (
    UPDATE delivery w SET due_at = now(), behind = false
    FROM (
        SELECT n.id
        FROM (SELECT DISTINCT sender, address, priority FROM settled WHERE status <> 'queued') l
        CROSS JOIN LATERAL (
            SELECT b.id FROM delivery b
            WHERE b.sender = l.sender AND b.address = l.address AND b.priority = l.priority
              AND b.status = 'queued' AND b.behind
            ORDER BY b.id LIMIT $15
        ) n
    ) next
    WHERE w.id = next.id
    RETURNING w.sender
), paused AS (
    INSERT INTO pacing_bucket (bucket, next_at)
    SELECT bucket, now() + max(seconds) * interval '1 second'
    FROM unnest($13::text[], $14::float8[]) AS p(bucket, seconds) GROUP BY bucket
    ON CONFLICT (bucket) DO UPDATE SET next_at = greatest(pacing_bucket.next_at, excluded.next_at)
), told AS (
    INSERT INTO outbox (transport, channel, types, subjects, bodies)
    SELECT transport, 'events', types, subjects, bodies
    FROM unnest($17::text[]) AS transport, (
        SELECT array_agg(event ORDER BY ord) AS types, array_agg(subject ORDER BY ord) AS subjects,
            array_agg(body ORDER BY ord) AS bodies
        FROM verdict WHERE event IS NOT NULL AND (id IN (SELECT id FROM settled)) IS TRUE
    ) AS batch
    WHERE batch.types IS NOT NULL
)
SELECT (SELECT count(*) FROM settled), ARRAY(SELECT sender FROM fallback UNION SELECT sender FROM woken)
"""

# A delivery whose unknown outcome must be held is marked before the call, so that its next owner
# can tell that it had begun.
MARK_STARTED = """
UPDATE delivery SET started = true WHERE id = ANY($1::bigint[]) AND lease_token = $2 RETURNING id
"""

# Gives back what this process holds in the table but not in its memory (a claim whose answer was lost).
RELEASE_STRAYS = """
UPDATE delivery SET status = 'queued', lease_token = NULL, lease_until = NULL, started = false
WHERE status = 'sending' AND lease_token = $1 AND id <> ALL($2::bigint[])
"""
