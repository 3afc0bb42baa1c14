-- Who reads what: rows are seen by whoever may read their namespace. A connection says which namespaces it reads
-- for in agent_comms.namespaces, an array of them as text, or {*} for all; one that says nothing sees nothing.
-- The owner of the tables, a superuser and a role with BYPASSRLS see everything, whatever they say: the ingest is one
-- of them, since Postgres takes no COPY from others here. See also 0008.

CREATE FUNCTION workflow_comms.readable_namespaces() RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('agent_comms.namespaces', true), '')::text[] $$;

CREATE FUNCTION workflow_comms.reads_everything() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT coalesce('*' = ANY (nullif(current_setting('agent_comms.namespaces', true), '')::text[]), false) $$;

-- One token of a subject, decoded as publishers encode it; null where it names nothing or is no text.
CREATE FUNCTION workflow_comms.decode_token(token text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
AS $$
BEGIN
    IF token IN ('', '-', 'unknown') THEN
        RETURN NULL;
    ELSIF strpos(token, '%') = 0 THEN
        RETURN token;
    END IF;
    RETURN (
        SELECT convert_from(string_agg(
            CASE WHEN part[1] ~ '^%..' THEN decode(substr(part[1], 2), 'hex') ELSE convert_to(part[1], 'UTF8') END,
            '' ORDER BY place
        ), 'UTF8')
        FROM regexp_matches(token, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') WITH ORDINALITY AS parts (part, place)
    );
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character OR invalid_parameter_value THEN
    RETURN NULL;
END
$$;

-- The namespace that a subject vouches for, as flows/subject.py reads it; null where it vouches for none.
CREATE FUNCTION workflow_comms.subject_namespace(subject text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
AS $$
DECLARE
    tokens text[] := string_to_array(CASE WHEN starts_with(subject, 'argo.') THEN substr(subject, 6) ELSE subject END, '.');
BEGIN
    IF tokens[1] IS DISTINCT FROM 'workflow' OR cardinality(tokens) < 3 THEN
        RETURN NULL;
    ELSIF tokens[2] <> 'general' OR (cardinality(tokens) = 7 AND tokens[5] = 'agent') THEN
        RETURN workflow_comms.decode_token(tokens[2]);
    ELSIF cardinality(tokens) > 3 THEN
        RETURN workflow_comms.decode_token(tokens[3]);
    END IF;
    RETURN NULL;
END
$$;

-- Whose a dead letter is, as far as its subject tells; nobody's is seen by those who read everything.
ALTER TABLE workflow_comms.dead_letters ADD COLUMN workflow_namespace text COLLATE "C"
    GENERATED ALWAYS AS (workflow_comms.subject_namespace(subject)) STORED;
CREATE INDEX dead_letters_by_namespace ON workflow_comms.dead_letters (workflow_namespace, first_seen_at DESC);

-- The general channel: its places in reading order from the index alone, whoever reads; and one namespace's part of it.
DROP INDEX workflow_comms.agent_messages_general;
CREATE INDEX agent_messages_general
    ON workflow_comms.agent_messages ("timestamp", seq) INCLUDE (workflow_namespace) WHERE channel = 'general';
CREATE INDEX agent_messages_general_parts
    ON workflow_comms.agent_messages (workflow_namespace, seq) WHERE channel = 'general';

-- Each function is asked once a query, not once a row.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['agent_messages', 'runs', 'dead_letters', 'reconcile_queue', 'artifacts'] LOOP
        EXECUTE format('ALTER TABLE workflow_comms.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY readers ON workflow_comms.%I USING ((SELECT workflow_comms.reads_everything())'
            ' OR workflow_namespace = ANY ((SELECT workflow_comms.readable_namespaces())::text[]))',
            name
        );
    END LOOP;
END
$$;

-- Places in the live order, whoever spoke there: nothing of what was said, nor by whom. Whoever reads a few namespaces
-- would otherwise walk over everybody's messages to find where the next of theirs may be.

CREATE FUNCTION workflow_comms.newest_seq() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT coalesce(greatest(
        (SELECT seq FROM workflow_comms.agent_messages WHERE channel = 'run' ORDER BY seq DESC LIMIT 1),
        (SELECT seq FROM workflow_comms.agent_messages WHERE channel = 'general' ORDER BY seq DESC LIMIT 1),
        (SELECT seq FROM workflow_comms.pruned WHERE channel = 'run'),
        (SELECT seq FROM workflow_comms.pruned WHERE channel = 'general')
    ), 0);
END;

CREATE FUNCTION workflow_comms.seqs_after(in_channel text, after bigint, most bigint) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT seq FROM workflow_comms.agent_messages WHERE channel = in_channel AND seq > after ORDER BY seq LIMIT most;
END;

CREATE FUNCTION workflow_comms.next_stored_after(after bigint, OUT seq bigint, OUT created_at timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
BEGIN ATOMIC
    SELECT found.seq, found.created_at
    FROM (
        (
            SELECT message.seq, message.created_at FROM workflow_comms.agent_messages AS message
            WHERE message.channel = 'run' AND message.seq > after ORDER BY message.seq LIMIT 1
        )
        UNION ALL
        (
            SELECT message.seq, message.created_at FROM workflow_comms.agent_messages AS message
            WHERE message.channel = 'general' AND message.seq > after ORDER BY message.seq LIMIT 1
        )
    ) AS found
    ORDER BY found.seq
    LIMIT 1;
END;

-- The newest places after one of them: so many at most, and so many bytes of what was said there.
CREATE FUNCTION workflow_comms.newest_seqs_after(after bigint, most bigint, most_bytes bigint) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT seq
    FROM (
        SELECT seq, sum(octet_length(content)) OVER (ORDER BY seq DESC) AS total
        FROM (
            (
                SELECT seq, content FROM workflow_comms.agent_messages
                WHERE channel = 'run' AND seq > after ORDER BY seq DESC LIMIT most
            )
            UNION ALL
            (
                SELECT seq, content FROM workflow_comms.agent_messages
                WHERE channel = 'general' AND seq > after ORDER BY seq DESC LIMIT most
            )
            ORDER BY seq DESC
            LIMIT most
        ) AS waiting
    ) AS summed
    WHERE total < most_bytes
    ORDER BY seq;
END;

REVOKE EXECUTE ON FUNCTION workflow_comms.newest_seq(), workflow_comms.seqs_after(text, bigint, bigint),
    workflow_comms.next_stored_after(bigint), workflow_comms.newest_seqs_after(bigint, bigint, bigint) FROM PUBLIC;
