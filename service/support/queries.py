"""The statements of the support desk. Whoever changes a ticket or adds to it holds its row's lock.

The lock is what keeps a conversation in order: the rows that are relayed get their ids under it.
"""

_TICKET = (
    "SELECT t.*, r.external_id AS recipient FROM ticket t LEFT JOIN recipient r ON r.id = t.recipient_id"
)

LOCK = f"{_TICKET} WHERE t.id = $1 FOR UPDATE OF t"
READ = f"{_TICKET} WHERE t.id = $1"
OPEN_OF = "SELECT id FROM ticket WHERE sender = $1 AND chat = $2 AND status = 'open'"
OF_THREAD = "SELECT id FROM ticket WHERE desk = $1 AND thread = $2"
OF_MESSAGE = """
SELECT m.ticket_id FROM relayed_message r JOIN ticket_message m ON m.id = r.message_id WHERE r.chat = $1 AND r.id = $2
"""

# The recipient is whoever has this address, the one who wrote to it last coming first.
INSERT = """
INSERT INTO ticket (sender, chat, name, username, locale, recipient_id, category, notification_id, delivery_id, about,
    status, desk, topic, opened_at, warned)
VALUES ($1, $2, $3, $4, $5,
    (SELECT recipient_id FROM contact WHERE sender = $1 AND address = $2 ORDER BY active DESC, id DESC LIMIT 1),
    $6, $7, $8, $9::jsonb, 'open', $10, $11, now(), false)
ON CONFLICT DO NOTHING RETURNING id
"""

# What the person answers, as it is remembered with the ticket: only what came to this very address, and
# what became of it on its other ways to the same reader.
ABOUT = """
SELECT n.id, n.content, n.category, own.id AS delivery_id, (
    SELECT json_agg(json_build_object('sender', d.sender, 'status', d.status,
        'at', coalesce(d.finished_at, d.created_at), 'error', d.error_text) ORDER BY d.id)
    FROM (
        SELECT * FROM delivery d
        WHERE d.notification_id = n.id AND d.recipient_id IS NOT DISTINCT FROM own.recipient_id ORDER BY d.id LIMIT 20
    ) d
) AS trail
FROM notification n CROSS JOIN LATERAL (
    SELECT d.id, d.recipient_id FROM delivery d
    WHERE d.notification_id = n.id AND d.sender = $3 AND d.address = $4 AND ($2::bigint IS NULL OR d.id = $2)
    ORDER BY d.id DESC LIMIT 1
) own
WHERE n.id = $1
"""

# Of this address only: another's must never be shown here.
RECENT = """
SELECT d.sender, d.status, coalesce(d.finished_at, d.created_at) AS at, n.content ->> 'title' AS title, n.category
FROM delivery d JOIN notification n ON n.id = d.notification_id
WHERE d.sender = $1 AND d.address = $2 AND n.source <> $3 ORDER BY d.id DESC LIMIT $4
"""

IS_BANNED = "SELECT true FROM support_ban WHERE sender = $1 AND chat = $2"
SEEN = """
INSERT INTO support_operator (id, name, seen_at) VALUES ($1, $2, now())
ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen_at = now()
"""
OPERATORS = "SELECT id, name FROM support_operator ORDER BY seen_at DESC LIMIT $1"
OPERATOR = "SELECT name FROM support_operator WHERE id = $1"
DESK = "SELECT moved_to FROM support_desk WHERE chat = $1"

MOVE_DESK = """
WITH noted AS (
    INSERT INTO support_desk (chat, moved_to) VALUES ($1, $3)
    ON CONFLICT (chat) DO UPDATE SET moved_to = excluded.moved_to
)
UPDATE ticket SET desk = $3 WHERE desk IN ($1, $2)
"""

# --- messages ------------------------------------------------------------------------------------

# With the place of the message in the chat where it was written, if it was written in one.
ADD = """
WITH added AS (
INSERT INTO ticket_message (ticket_id, origin, toward, operator_id, chat, reply_to, album, parts, buttons, state, ready_at,
    repeats, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, CASE WHEN $3::text IS NULL THEN 'note' ELSE 'waiting' END,
    clock_timestamp() + $10 * interval '1 second', 0, clock_timestamp())
RETURNING id
), placed AS (
    INSERT INTO relayed_message (chat, id, message_id, part)
    SELECT $5, $11, id, 0 FROM added WHERE $11::bigint IS NOT NULL
)
SELECT id FROM added
"""
PLACE = """
INSERT INTO relayed_message (chat, id, message_id, part) VALUES ($1, $2, $3, $4)
"""
HAS_PART_OF = """
SELECT true FROM ticket t JOIN ticket_message m ON m.ticket_id = t.id
WHERE t.sender = $1 AND t.chat = $2 AND t.status = 'open' AND m.chat = $2 AND m.album = $3 LIMIT 1
"""
IS_KNOWN = "SELECT true FROM relayed_message WHERE chat = $1 AND id = $2"

# The album that is still being gathered. Each part puts its sending off anew.
GROW = """
UPDATE ticket_message SET parts = parts || $4::jsonb, ready_at = clock_timestamp() + $5 * interval '1 second'
WHERE ticket_id = $1 AND chat = $2 AND album = $3 AND state IN ('waiting', 'note')
RETURNING id, origin, toward, operator_id, jsonb_array_length(parts) - 1 AS part
"""
# A mark at any of its parts keeps the whole album at the desk.
KEEP_ALBUM = """
UPDATE ticket_message SET toward = NULL, state = 'note'
WHERE ticket_id = $1 AND chat = $2 AND album = $3 AND state = 'waiting'
"""
# What is under way already cannot be kept.
KEEP_BACK = """
WITH cancelled AS (
    UPDATE delivery d SET status = 'cancelled', finished_at = now(), error_kind = 'cancelled', error_text = 'it became internal'
    FROM ticket_message m
    WHERE m.id = $1 AND m.state = 'sending' AND d.id = m.delivery_id AND d.status = 'queued'
    RETURNING d.id
)
UPDATE ticket_message m SET toward = NULL, state = 'note'
WHERE m.id = $1 AND (m.state = 'waiting' OR m.delivery_id IN (SELECT id FROM cancelled))
"""
WAITING = """
SELECT m.id, m.toward, m.state, m.repeats, m.ready_at <= clock_timestamp() AS ready, d.address
FROM ticket_message m LEFT JOIN delivery d ON d.id = m.delivery_id
WHERE m.ticket_id = $1 AND m.state IN ('waiting', 'sending') ORDER BY m.id
"""
SENDING = "UPDATE ticket_message SET state = 'sending', delivery_id = $2 WHERE id = $1"
EDITED = """
SELECT m.id, m.ticket_id, m.toward, m.origin, m.state, r.part, m.parts -> r.part AS old
FROM relayed_message r JOIN ticket_message m ON m.id = r.message_id
WHERE r.chat = $1 AND r.id = $2 AND m.chat = r.chat
"""
EDIT = """
UPDATE ticket_message SET parts = jsonb_set(parts, ARRAY[$2::text], $3::jsonb), edited_at = now() WHERE id = $1
"""
MESSAGE = "SELECT * FROM ticket_message WHERE id = $1"

# --- what became of them -------------------------------------------------------------------------

# The usual case for a whole batch: it was sent, and where the copies are is remembered. What had failed and
# was put back into the queue by a person is found by its delivery only.
# Of an album whose copies are fewer, as the provider skips what is not there any more, nobody knows which is which.
# `desk` is set where the desk's chat has turned out to be another one.
HARVEST = """
WITH done AS (
    UPDATE ticket_message m SET state = 'sent'
    FROM delivery d
    WHERE d.id = m.delivery_id AND d.status = 'sent'
      AND (m.state = 'sending' AND $1::bigint[] IS NULL
        OR m.state IN ('sending', 'failed') AND m.delivery_id = ANY($1))
    RETURNING m.id, m.ticket_id, m.toward, split_part(d.address, ':', 1) AS chat, d.provider_ids,
        cardinality(d.provider_ids) = jsonb_array_length(m.parts) AS whole
), copied AS (
    INSERT INTO relayed_message (chat, id, message_id, part)
    SELECT done.chat, copy.id::bigint, done.id, CASE WHEN done.whole THEN copy.ord - 1 ELSE -1 END
    FROM done CROSS JOIN LATERAL unnest(done.provider_ids) WITH ORDINALITY AS copy(id, ord)
    WHERE copy.id ~ '^[0-9]{1,18}$'
    ON CONFLICT DO NOTHING
)
SELECT DISTINCT t.desk, done.chat FROM done JOIN ticket t ON t.id = done.ticket_id
WHERE done.toward = 'desk' AND done.chat <> t.desk
"""
HARVEST_CARDS = """
UPDATE ticket t SET card_message = d.provider_ids[1]::bigint FROM delivery d
WHERE d.id = t.card_delivery AND t.card_message IS NULL AND d.status = 'sent' AND d.provider_ids[1] ~ '^[0-9]{1,18}$'
  AND ($1::bigint[] IS NULL OR t.card_delivery = ANY($1))
"""
UNSENT = """
SELECT m.id, m.ticket_id FROM ticket_message m JOIN delivery d ON d.id = m.delivery_id
WHERE m.state = 'sending' AND d.status NOT IN ('queued', 'sending', 'sent')
  AND ($1::bigint[] IS NULL OR m.delivery_id = ANY($1))
ORDER BY m.id LIMIT 500
"""
WHY = """
SELECT m.*, d.status, d.address, d.error_kind, d.error_code, d.error_text
FROM ticket_message m JOIN delivery d ON d.id = m.delivery_id
WHERE m.id = $1 AND m.state = 'sending' AND d.status NOT IN ('queued', 'sending', 'sent')
"""
TOPICS = """
SELECT t.id FROM ticket t JOIN delivery d ON d.id = t.topic_delivery
WHERE t.topic = 'opening' AND d.status NOT IN ('queued', 'sending')
  AND ($1::bigint[] IS NULL OR t.topic_delivery = ANY($1))
ORDER BY t.id LIMIT 500
"""
TOPIC = "SELECT status, address, provider_ids, error_kind, error_text FROM delivery WHERE id = $1"
FAILED = "UPDATE ticket_message SET state = 'failed' WHERE id = $1"
AGAIN = "UPDATE ticket_message SET state = 'waiting', delivery_id = NULL, repeats = repeats + 1 WHERE id = $1"

# What waits for a topic that is gone need not find that out one by one.
WITHDRAW = """
WITH withdrawn AS (
    UPDATE delivery d SET status = 'cancelled', finished_at = now(), error_kind = 'cancelled', error_text = 'its topic is gone'
    FROM ticket_message m
    WHERE m.ticket_id = $1 AND m.state = 'sending' AND d.id = m.delivery_id AND d.status = 'queued' AND d.address = $2
    RETURNING d.id
)
UPDATE ticket_message m SET state = 'waiting', delivery_id = NULL, repeats = repeats + 1
FROM withdrawn w WHERE m.delivery_id = w.id AND m.ticket_id = $1
"""
DUE = """
SELECT DISTINCT ticket_id FROM (
    SELECT m.ticket_id FROM ticket_message m JOIN ticket t ON t.id = m.ticket_id
    WHERE m.state = 'waiting' AND m.ready_at <= now() AND (t.topic <> 'opening' OR m.toward = 'person')
    ORDER BY m.ready_at LIMIT 500
) m
"""
FORGET = """
DELETE FROM ticket WHERE id IN (
    SELECT id FROM ticket WHERE status = 'closed' AND closed_at < now() - $1 * interval '1 day' ORDER BY closed_at LIMIT $2)
"""
IDLE = "SELECT id FROM ticket WHERE idle_at <= now() ORDER BY idle_at LIMIT 200"
IS_IDLE = "SELECT idle_at <= now() FROM ticket WHERE id = $1"
WARN = "UPDATE ticket SET warned = true, idle_at = now() + $2 * interval '1 hour' WHERE id = $1"
