"""Every statement about recipients."""

_PERSON = """
SELECT r.id, r.external_id, r.locale, r.zone, r.attributes, r.muted, r.quiet_from, r.quiet_until,
    c.ids, c.senders, c.addresses, c.actives, m.categories, m.muted_senders
FROM {chosen}
CROSS JOIN LATERAL (
    SELECT array_agg(id ORDER BY position, id) AS ids, array_agg(sender ORDER BY position, id) AS senders,
        array_agg(address ORDER BY position, id) AS addresses, array_agg(active ORDER BY position, id) AS actives
    FROM contact WHERE recipient_id = r.id) c
CROSS JOIN LATERAL (
    SELECT array_agg(category ORDER BY id) AS categories, array_agg(sender ORDER BY id) AS muted_senders
    FROM mute WHERE recipient_id = r.id) m
"""
# One statement for everything about a batch of people: three index look-ups a person.
LOAD_PEOPLE = _PERSON.format(
    chosen="(SELECT DISTINCT id FROM unnest($1::text[]) AS given(id)) AS g JOIN recipient r ON r.external_id = g.id"
)
# The inner LIMIT comes first, so that a page costs what it holds, wherever in the topic it is.
SUBSCRIBERS = _PERSON.format(
    chosen="""(
    SELECT recipient_id FROM subscription
    WHERE topic_id = (SELECT id FROM topic WHERE name = $1) AND recipient_id > $2
    ORDER BY recipient_id LIMIT $3) AS s JOIN recipient r ON r.id = s.recipient_id"""
)


def people_of(chosen: str) -> str:
    """The same for the people whose ids a statement chooses, as `id`."""
    return _PERSON.format(chosen=f"({chosen}) AS s JOIN recipient r ON r.id = s.id") + "ORDER BY r.id"


TOPICS_EXIST = "SELECT name FROM topic WHERE name = ANY($1::text[])"
DEACTIVATE = """
UPDATE contact c SET active = false, inactive_at = now(), inactive_reason = g.reason
FROM (SELECT DISTINCT ON (id) id, reason FROM unnest($1::bigint[], $2::text[]) AS given(id, reason)) g
WHERE c.id = g.id AND c.active
"""
REPLACED = "replaced by another chat of the same person"
# A chat that its person left for another one is not theirs again because somebody writes in it.
REVIVE = f"""
UPDATE contact SET active = true, inactive_at = NULL, inactive_reason = NULL
WHERE address = ANY($2::text[]) AND sender = $1 AND NOT active AND inactive_reason <> '{REPLACED}'
"""  # noqa: S608 - a constant
SILENCE = """
UPDATE contact SET active = false, inactive_at = now(), inactive_reason = $3
WHERE address = ANY($2::text[]) AND sender = $1 AND active
"""
# What is known of each chosen person, for people to read.
_PROFILE = """
SELECT r.id, r.external_id, r.name, r.locale, r.zone, r.attributes, r.muted, r.quiet_from, r.quiet_until,
    r.created_at, r.updated_at, c.contacts, m.mutes, t.topics
FROM {chosen} r
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_object('id', id, 'sender', sender, 'address', address, 'active', active,
        'inactive_reason', inactive_reason, 'inactive_at', inactive_at, 'device', CASE WHEN seen_at IS NOT NULL
            THEN json_build_object('platform', platform, 'app', app, 'name', device_name, 'seen_at', seen_at) END
        ) ORDER BY position, id), '[]') AS contacts
    FROM contact WHERE recipient_id = r.id) c
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_object('category', category, 'sender', sender) ORDER BY id), '[]') AS mutes
    FROM mute WHERE recipient_id = r.id) m
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(t.name ORDER BY t.name), '{{}}') AS topics
    FROM subscription s JOIN topic t ON t.id = s.topic_id WHERE s.recipient_id = r.id) t
"""
PROFILES = _PROFILE.format(chosen="(SELECT * FROM recipient WHERE external_id = ANY($1::text[]))")

# Pages go through a window of so many people ($2) below a key ($1): those an index finds ($3, $4), or all.
# Filters without an index are applied to the window.
WINDOWS = {
    "all": "SELECT id FROM recipient WHERE id < $1 AND $3::text IS NULL AND $4::text IS NULL",
    "topic": """SELECT recipient_id AS id FROM subscription
        WHERE topic_id = (SELECT id FROM topic WHERE name = $3::text) AND recipient_id < $1 AND $4::text IS NULL""",
    "address": """SELECT DISTINCT recipient_id AS id FROM contact
        WHERE address = $3::text AND ($4::text IS NULL OR sender = $4) AND recipient_id < $1""",
}
_FILTERED = """(
    SELECT q.* FROM ({window} ORDER BY id DESC LIMIT $2) w JOIN recipient q ON q.id = w.id
    WHERE ($5::text IS NULL OR q.locale = $5)
        AND ($6::text IS NULL OR EXISTS (SELECT 1 FROM contact f WHERE f.recipient_id = q.id AND f.sender = $6))
        AND ($7::text IS NULL OR EXISTS (
            SELECT 1 FROM subscription f JOIN topic ft ON ft.id = f.topic_id
            WHERE f.recipient_id = q.id AND ft.name = $7))
    ORDER BY q.id DESC LIMIT $8)"""
PAGES = {
    name: _PROFILE.format(chosen=_FILTERED.format(window=window)) + "ORDER BY r.id DESC"
    for name, window in WINDOWS.items()
}
WINDOW_ENDS = {
    name: f"SELECT id FROM ({window} ORDER BY id DESC LIMIT $2) w ORDER BY id DESC OFFSET $2 - 1"  # noqa: S608
    for name, window in WINDOWS.items()
}

# Sorted, here and in LOCK, so that two batches with the same people wait for each other and never in a circle.
INSERT_RECIPIENTS = """
INSERT INTO recipient (external_id, name, locale, zone, attributes, muted, quiet_from, quiet_until, created_at, updated_at)
SELECT *, now(), now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::boolean[], $7::time[], $8::time[])
    AS g(external_id, name, locale, zone, attributes, muted, quiet_from, quiet_until)
ORDER BY g.external_id
ON CONFLICT (external_id) DO NOTHING
RETURNING id, external_id
"""
LOCK = "SELECT id FROM recipient WHERE external_id = ANY($1::text[]) ORDER BY external_id FOR NO KEY UPDATE"
# A statement of its own after LOCK, so that it sees what the lock waited for.
READ = """
SELECT r.*,
    (SELECT coalesce(json_agg(json_build_array(id, sender, address, position, active, seen_at IS NOT NULL)), '[]')
        FROM contact WHERE recipient_id = r.id) AS contacts,
    (SELECT coalesce(json_agg(json_build_array(category, sender)), '[]') FROM mute WHERE recipient_id = r.id) AS mutes
FROM recipient r WHERE external_id = ANY($1::text[])
"""
UPDATE_RECIPIENTS = """
UPDATE recipient r SET name = g.name, locale = g.locale, zone = g.zone, attributes = g.attributes, muted = g.muted,
    quiet_from = g.quiet_from, quiet_until = g.quiet_until, updated_at = now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::boolean[], $7::time[], $8::time[])
    AS g(external_id, name, locale, zone, attributes, muted, quiet_from, quiet_until)
WHERE r.external_id = g.external_id
"""
DELETE_CONTACTS = "DELETE FROM contact WHERE id = ANY($1::bigint[])"
UPDATE_CONTACTS = """
UPDATE contact c SET position = g.position, active = g.active,
    inactive_at = CASE WHEN NOT g.active THEN coalesce(c.inactive_at, now()) END,
    inactive_reason = CASE WHEN NOT g.active THEN coalesce(c.inactive_reason, $4) END
FROM unnest($1::bigint[], $2::smallint[], $3::boolean[]) AS g(id, position, active)
WHERE c.id = g.id
"""
INSERT_CONTACTS = """
INSERT INTO contact (recipient_id, sender, address, position, active, inactive_at, inactive_reason)
SELECT recipient_id, sender, address, position, active, CASE WHEN NOT active THEN now() END,
    CASE WHEN NOT active THEN $6 END
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[], $5::boolean[])
    AS g(recipient_id, sender, address, position, active)
ON CONFLICT DO NOTHING
"""
DELETE_MUTES = "DELETE FROM mute WHERE recipient_id = ANY($1::bigint[])"
INSERT_MUTES = """
INSERT INTO mute (recipient_id, category, sender) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[])
ON CONFLICT DO NOTHING
"""

SUBSCRIPTIONS = """
SELECT t.name, s.at FROM subscription s JOIN topic t ON t.id = s.topic_id
WHERE s.recipient_id = (SELECT id FROM recipient WHERE external_id = $1) ORDER BY t.name
"""
ERASE = """
WITH r AS (SELECT id FROM recipient WHERE external_id = $1 FOR UPDATE),
    counted AS (SELECT
        (SELECT count(*) FROM contact WHERE recipient_id = (SELECT id FROM r)) AS contacts,
        (SELECT count(*) FROM mute WHERE recipient_id = (SELECT id FROM r)) AS mutes,
        (SELECT count(*) FROM subscription WHERE recipient_id = (SELECT id FROM r)) AS subscriptions),
    gone AS (DELETE FROM recipient WHERE id = (SELECT id FROM r) RETURNING id)
SELECT counted.* FROM counted, gone
"""
ADD_CONTACT = """
INSERT INTO contact (recipient_id, sender, address, position, active)
SELECT r.id, $2, $3, (SELECT least(coalesce(max(position) + 1, 0), 32767) FROM contact WHERE recipient_id = r.id), true
FROM recipient r WHERE r.external_id = $1
ON CONFLICT (recipient_id, sender, address)
DO UPDATE SET active = true, inactive_at = NULL, inactive_reason = NULL
RETURNING id
"""
_ONE_CONTACT = (
    "{change} WHERE id = $2 AND recipient_id = (SELECT id FROM recipient WHERE external_id = $1) RETURNING id"
)
REMOVE_CONTACT = _ONE_CONTACT.format(change="DELETE FROM contact")
ACTIVATE_CONTACT = _ONE_CONTACT.format(
    change="UPDATE contact SET active = true, inactive_at = NULL, inactive_reason = NULL"
)
DEACTIVATE_CONTACT = _ONE_CONTACT.format(
    change="UPDATE contact SET active = false, inactive_at = coalesce(inactive_at, now()), inactive_reason = $3"
)

DEVICES = """
SELECT * FROM contact
WHERE recipient_id = (SELECT id FROM recipient WHERE external_id = $1) AND seen_at IS NOT NULL
ORDER BY seen_at DESC, id DESC
"""
# What most calls are: an app that says again what is known. No row: something is new.
SEEN = """
UPDATE contact SET seen_at = now()
WHERE recipient_id = (SELECT id FROM recipient WHERE external_id = $1) AND sender = $2 AND address = $3 AND active
    AND seen_at IS NOT NULL AND (platform, app, device_name) IS NOT DISTINCT FROM ($4::text, $5::text, $6::text)
RETURNING *
"""
# Whoever registers one token at the same time waits here, before their statements see anything.
LOCK_ADDRESS = "SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))"
# What else has that address, whosever it is: a token leads to one device of one person. $4 is that device, or null
# for whichever of this recipient's has the token.
TAKE_ADDRESS = "DELETE FROM contact WHERE address = $2 AND sender = $1 AND (recipient_id <> $3 OR id <> $4)"
REGISTER = """
INSERT INTO contact (recipient_id, sender, address, position, active, platform, app, device_name, seen_at)
SELECT $1, $2, $3, (SELECT least(coalesce(max(position) + 1, 0), 32767) FROM contact WHERE recipient_id = $1), true,
    $4, $5, $6, now()
ON CONFLICT (recipient_id, sender, address)
DO UPDATE SET active = true, inactive_at = NULL, inactive_reason = NULL,
    platform = excluded.platform, app = excluded.app, device_name = excluded.device_name, seen_at = excluded.seen_at
RETURNING *, xmax = 0 AS created
"""
# The dead ones first, then those that were seen longest ago.
MAKE_ROOM = """
DELETE FROM contact WHERE id IN (
    SELECT id FROM contact WHERE recipient_id = $1 AND seen_at IS NOT NULL
    ORDER BY active DESC, seen_at DESC, id DESC OFFSET $2)
"""
FIND_DEVICE = """
SELECT recipient_id, sender, address FROM contact
WHERE id = $2 AND recipient_id = (SELECT id FROM recipient WHERE external_id = $1) AND seen_at IS NOT NULL
"""
ROTATE = """
UPDATE contact SET address = $2, active = true, inactive_at = NULL, inactive_reason = NULL,
    platform = $3, app = $4, device_name = $5, seen_at = now()
WHERE id = $1
RETURNING *
"""
REMOVE_DEVICE = """
DELETE FROM contact WHERE id = $2 AND seen_at IS NOT NULL
    AND recipient_id = (SELECT id FROM recipient WHERE external_id = $1) RETURNING id
"""

INSERT_TOPIC = """
INSERT INTO topic (name, title, created_at) VALUES ($1, $2, now())
ON CONFLICT (name) DO UPDATE SET title = excluded.title
RETURNING id, name, title, created_at, xmax = 0 AS created
"""
# Counted up to a limit, so that a page of topics with millions of subscribers is as cheap.
_TOPIC = """
SELECT t.id, t.name, t.title, t.created_at,
    (SELECT count(*) FROM (SELECT 1 FROM subscription s WHERE s.topic_id = t.id LIMIT $1) q) AS subscribers
FROM topic t
"""
TOPIC = _TOPIC + "WHERE t.name = $2"
TOPICS = _TOPIC + "WHERE t.id < $2 ORDER BY t.id DESC LIMIT $3"
DELETE_TOPIC = "DELETE FROM topic WHERE name = $1 RETURNING id"
# No row: there is no such topic or person; `fresh` is false when they were subscribed before.
SUBSCRIBE = """
WITH pair AS (
    SELECT t.id AS topic_id, r.id AS recipient_id FROM topic t, recipient r WHERE t.name = $1 AND r.external_id = $2
), made AS (
    INSERT INTO subscription (topic_id, recipient_id, at) SELECT topic_id, recipient_id, now() FROM pair
    ON CONFLICT DO NOTHING RETURNING topic_id)
SELECT EXISTS (SELECT 1 FROM made) AS fresh FROM pair
"""
# One row: the topic is there; how many people are known, and how many of them were not subscribed before.
SUBSCRIBE_MANY = """
WITH people AS (
    SELECT r.id, r.external_id FROM (SELECT DISTINCT id FROM unnest($2::text[]) AS given(id)) g
    JOIN recipient r ON r.external_id = g.id
), made AS (
    INSERT INTO subscription (topic_id, recipient_id, at)
    SELECT t.id, people.id, now() FROM topic t, people WHERE t.name = $1 ORDER BY people.id
    ON CONFLICT DO NOTHING RETURNING recipient_id)
SELECT (SELECT count(*) FROM made) AS fresh, (SELECT coalesce(array_agg(external_id), '{}') FROM people) AS known
FROM topic WHERE name = $1
"""
UNSUBSCRIBE = """
DELETE FROM subscription s USING topic t, recipient r
WHERE t.name = $1 AND r.external_id = $2 AND s.topic_id = t.id AND s.recipient_id = r.id RETURNING s.topic_id
"""
TOPIC_SUBSCRIBERS = """
SELECT s.recipient_id AS id, r.external_id, r.name, s.at
FROM subscription s JOIN recipient r ON r.id = s.recipient_id
WHERE s.topic_id = (SELECT id FROM topic WHERE name = $1) AND s.recipient_id < $2
ORDER BY s.recipient_id DESC LIMIT $3
"""

LOOK = """
SELECT locale, CASE WHEN $2::text IS NULL AND $3::text IS NULL THEN muted ELSE EXISTS (
    SELECT 1 FROM mute WHERE recipient_id = r.id
        AND category IS NOT DISTINCT FROM $2::text AND sender IS NOT DISTINCT FROM $3::text) END AS done
FROM recipient r WHERE id = $1
"""
MUTE_ALL = "UPDATE recipient SET muted = $2, updated_at = now() WHERE id = $1 AND muted <> $2"
LEAVE = """
INSERT INTO mute (recipient_id, category, sender) SELECT id, $2, $3 FROM recipient WHERE id = $1
ON CONFLICT DO NOTHING
"""
COME_BACK = """
DELETE FROM mute WHERE recipient_id = $1
    AND category IS NOT DISTINCT FROM $2::text AND sender IS NOT DISTINCT FROM $3::text
"""
