"""The sections of RFC 9113 (HTTP/2), of RFC 7541 (HPACK) and of gRPC's PROTOCOL-HTTP2.md, each with
the tests that show it, or with why it does not bind us.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

# Chapters, and how many sections each has.
RFC_9113 = {3: 4, 4: 3, 5: 5, 6: 10, 8: 8, 9: 2, 10: 9}
RFC_7541 = {2: 4, 3: 2, 4: 4, 5: 2, 6: 3, 7: 4}

NOT_OURS = {
    "3.1": "names of the protocol; the token h2 is in the tests of 3.2",
    "5.3": "priority is deprecated; frames of it are ignored (6.3)",
    "8.4": "push: we neither send nor allow it (6.6)",
    "8.5": "CONNECT: gRPC has no use for it; any method but POST is 405 (8.3)",
    "8.8": "examples",
    "9.1": "connection reuse is the client's choice",
    "10.1": "authority of the server: the client checks the certificate, which is TLS's",
    "10.4": "pushed responses: there are none",
    "10.6": "compression of secrets: nothing that we send is compressed in a block (RFC 7541, 7.1)",
    "10.7": "padding: we send none; what comes is in 6.1 and 6.2",
    "10.8": "privacy: of clients that browse",
    "10.9": "remote timing attacks: of intermediaries",
}

SECTIONS: dict[str, tuple[str, ...]] = {
    "3.2 https": (
        "net::test_calls_over_tls",
        "net::test_who_does_not_offer_h2_is_sent_away",
    ),
    "3.3 prior knowledge": ("wire::test_a_wrong_preface_ends_the_connection",),
    "3.4 connection preface": (
        "wire::test_preface_in_pieces",
        "wire::test_a_wrong_preface_ends_the_connection",
        "wire::test_the_first_frame_must_be_settings",
        "wire::test_the_server_speaks_first",
        "wire::test_what_the_client_says_first",
    ),
    "4.1 frame format": (
        "wire::test_cuts_do_not_change_the_story",
        "wire::test_unknown_and_priority_frames_are_ignored",
    ),
    "4.2 frame size": ("wire::test_frames_above_the_limit",),
    "4.3 field section compression": (
        "wire::test_a_broken_block_ends_the_connection",
        "wire::test_random_blocks_decode_as_hpack_decodes_them",
        "wire::test_large_blocks_are_continued",
    ),
    "5.1 stream states": (
        "wire::test_random_frames_mean_the_same",
        "wire::test_faults_of_a_stream",
        "wire::test_faults_of_the_connection",
    ),
    "5.1.1 stream identifiers": (
        "wire::test_faults_of_the_connection",
        "wire::test_a_stream_is_not_opened_again",
    ),
    "5.1.2 stream concurrency": (
        "wire::test_too_many_streams_are_refused",
        "wire::test_unary_calls_of_one_receive_count_as_streams",
        "net::test_a_limit_of_streams_is_kept",
    ),
    "5.2 flow control": (
        "wire::test_large_answers_wait_for_the_windows",
        "wire::test_consumed_messages_open_the_window",
        "net::test_a_client_that_does_not_read_slows_nobody",
    ),
    "5.4 error handling": (
        "wire::test_faults_of_the_connection",
        "wire::test_faults_of_a_stream",
        "net::test_goaway_says_why",
    ),
    "5.5 extensions": ("wire::test_unknown_and_priority_frames_are_ignored",),
    "6.1 DATA": (
        "wire::test_messages_come_whole",
        "wire::test_unary_call_in_many_frames",
        "wire::test_data_beyond_the_windows",
        "wire::test_tiny_data_does_not_cost_an_object_each",
    ),
    "6.2 HEADERS": (
        "wire::test_headers_with_padding_and_priority",
        "wire::test_unary_call_is_one_event",
    ),
    "6.3 PRIORITY": ("wire::test_unknown_and_priority_frames_are_ignored",),
    "6.4 RST_STREAM": (
        "wire::test_reset_of_a_call_that_came_in_the_same_receive",
        "wire::test_frames_of_a_cancelled_call_are_ignored",
    ),
    "6.5 SETTINGS": (
        "wire::test_each_window_of_a_settings_frame_counts",
        "wire::test_settings_are_acknowledged_in_order",
        "wire::test_first_settings_frame_has_our_limits",
        "wire::test_limits_that_no_client_could_keep",
    ),
    "6.6 PUSH_PROMISE": ("wire::test_faults_of_the_connection",),
    "6.7 PING": (
        "wire::test_ping_is_answered_and_acknowledged",
        "wire::test_pings_between_data_are_welcome",
    ),
    "6.8 GOAWAY": (
        "wire::test_drain_says_goaway_twice",
        "wire::test_goaway_of_the_client_is_told",
        "wire::test_goaway_splits_the_calls",
    ),
    "6.9 WINDOW_UPDATE": (
        "wire::test_window_of_a_call_that_came_in_the_same_receive",
        "wire::test_large_answers_wait_for_the_windows",
        "wire::test_faults_of_a_stream",
    ),
    "6.10 CONTINUATION": (
        "wire::test_large_blocks_are_continued",
        "wire::test_continuation_flood",
    ),
    "8.1 message framing": (
        "wire::test_request_trailers_end_a_call",
        "wire::test_content_length_must_be_the_length",
        "wire::test_early_end_asks_the_client_to_stop",
    ),
    "8.2 fields": ("wire::test_malformed_requests",),
    "8.3 control data": (
        "wire::test_malformed_requests",
        "wire::test_requests_that_are_not_grpc",
    ),
    "8.6 upgrade": ("wire::test_malformed_requests",),
    "8.7 reliability": (
        "net::test_unprocessed_calls_are_tried_again",
        "net::test_a_stream_that_is_not_processed_begins_again",
        "net::test_calls_below_a_goaway_end",
    ),
    "9.2 use of TLS": (
        "net::test_calls_over_tls",
        "net::test_grpcio_over_tls",
        "net::test_suites_that_http2_prohibits_are_not_agreed_on",
        "net::test_who_does_not_offer_h2_is_sent_away",
    ),
    "10.2 cross-protocol attacks": (
        "wire::test_a_wrong_preface_ends_the_connection",
        "web::test_http_2_is_not_spoken_there",
    ),
    "10.3 intermediary encapsulation": (
        "wire::test_malformed_requests",
        "web::test_two_lengths_are_none",
    ),
    "10.5 denial of service": (
        "wire::test_many_windows_in_one_settings_frame_are_one_change",
        "wire::test_floods_are_sent_away",
        "wire::test_hpack_bomb",
        "wire::test_oversized_headers_end_their_call_only",
        "wire::test_zero_windows_are_bounded_by_memory",
        "net::test_slow_headers",
        "net::test_a_window_that_stays_shut",
        "e2e::test_floods_leave_others_unharmed",
        "e2e::test_zero_windows_held_open",
    ),
}

HPACK: dict[str, tuple[str, ...]] = {
    "2.1 ordering": ("wire::test_random_blocks_decode_as_hpack_decodes_them",),
    "2.2 contexts": ("wire::test_memo_survives_between_connections_only_as_blocks",),
    "2.3 indexing tables": ("wire::test_examples_of_the_rfc",),
    "2.4 representation": ("wire::test_examples_of_the_rfc",),
    "3.1 processing": ("wire::test_a_broken_block_ends_the_connection",),
    "3.2 representations": ("wire::test_the_memo_never_changes_what_a_block_means",),
    "4.1 table size": (
        "wire::test_examples_of_the_rfc",
        "wire::test_random_blocks_decode_as_hpack_decodes_them",
    ),
    "4.2 largest size": (
        "wire::test_a_broken_block_ends_the_connection",
        "wire::test_sizes_of_the_table",
    ),
    "4.3 eviction by size": ("wire::test_sizes_of_the_table",),
    "4.4 eviction by entries": ("wire::test_examples_of_the_rfc", "wire::test_sizes_of_the_table"),
    "5.1 integers": (
        "wire::test_integers_of_the_rfc",
        "wire::test_a_broken_block_ends_the_connection",
    ),
    "5.2 strings": (
        "wire::test_any_text_survives_huffman",
        "wire::test_huffman_refuses_what_hpack_refuses",
        "wire::test_padding_of_a_long_string",
    ),
    "6.1 indexed": (
        "wire::test_examples_of_the_rfc",
        "wire::test_a_broken_block_ends_the_connection",
    ),
    "6.2 literal": ("wire::test_examples_of_the_rfc",),
    "6.3 size update": ("wire::test_sizes_of_the_table",),
    "7.1 probing": ("wire::test_our_blocks_decode_and_leave_the_table_alone",),
    "7.2 static Huffman": ("wire::test_any_text_survives_huffman",),
    "7.3 memory": ("wire::test_an_hpack_bomb_ends_the_connection", "wire::test_hpack_bomb"),
    "7.4 limits": ("wire::test_integers_of_the_rfc", "wire::test_the_memo_is_bounded"),
}

# PROTOCOL-HTTP2.md: its productions, and what its text says besides, in its order.
GRPC_RULES = """
Request; Request-Headers; Call-Definition; Method; Scheme; Path; Service-Name; Authority; TE;
Timeout; TimeoutValue; TimeoutUnit; Content-Type; Content-Coding; Message-Encoding;
Message-Accept-Encoding; User-Agent; Message-Type; Custom-Metadata; Binary-Header; ASCII-Header;
Header-Name; ASCII-Value; order of headers; case of paths; no timeout; 415; reserved names;
padded and un-padded; duplicate names; joined binary values; invalid ASCII-Value;
size of request headers; Length-Prefixed-Message; Compressed-Flag; Message-Length; Message;
a context for each message; a flag without an encoding; EOS; empty DATA; Response;
Response-Headers; Trailers-Only; Trailers; HTTP-Status; Status; Status-Message; Percent-Encoded;
Percent-Byte-Unencoded; Percent-Byte-Encoded; status even if OK; end of a response;
broken deployments; size of response headers; broken percent-encoding; User Agents;
Idempotency and Retries; Stream Identification; Data Frames; Early Server Closure; Errors;
codes of RST_STREAM; Client Cancellation; deadline at the server; Security; GOAWAY; PING
"""

GRPC_NOT_OURS = {
    "TE": "we send it; who leaves it out is served all the same",
    "Message-Type": "known as a name; our messages are told by the path",
}

REFUSED = "wire::test_calls_that_are_refused_with_a_status"
MESSAGES = "wire::test_messages_whole_byte_by_byte_and_with_a_tail"
ON_THE_WIRE = "wire::test_a_request_on_the_wire"
LEFT_OUT = "wire::test_what_may_be_left_out"
ENCODINGS = (
    "wire::test_another_encoding_is_unimplemented_and_the_answer_names_those_that_are",
    "wire::test_what_may_be_said_of_a_message",
)
PERCENT = ("wire::test_status_messages", "net::test_status_and_message_with_unicode")

GRPC: dict[str, tuple[str, ...]] = {
    "Request": ("wire::test_streaming_call", "net::test_ping_pong"),
    "Request-Headers": (ON_THE_WIRE, "wire::test_oversized_headers_end_their_call_only"),
    "Call-Definition": (ON_THE_WIRE, LEFT_OUT, "wire::test_recorded_clients"),
    "Method": ("wire::test_requests_that_are_not_grpc",),
    "Scheme": (ON_THE_WIRE, "wire::test_malformed_requests", "net::test_calls_over_tls"),
    "Path": ("wire::test_paths_are_case_sensitive", "net::test_unimplemented"),
    "Service-Name": ("wire::test_paths_are_case_sensitive",),
    "Authority": (ON_THE_WIRE, LEFT_OUT),
    "Timeout": ("wire::test_timeouts", "net::test_deadline", ON_THE_WIRE),
    "TimeoutValue": ("wire::test_wrong_timeouts", "wire::test_timeouts_round_up", REFUSED),
    "TimeoutUnit": ("wire::test_timeouts", "wire::test_wrong_timeouts"),
    "Content-Type": ("wire::test_content_types",),
    "Content-Coding": ("wire::test_compressed_messages_come_plain", REFUSED),
    "Message-Encoding": ("wire::test_compressed_messages_come_plain", *ENCODINGS),
    "Message-Accept-Encoding": ENCODINGS,
    "User-Agent": ("wire::test_what_may_be_said_of_a_message", ON_THE_WIRE),
    "Custom-Metadata": ("net::test_metadata", "wire::test_metadata_of_grpcio"),
    "Binary-Header": (
        "wire::test_binary_metadata",
        "wire::test_broken_binary_metadata",
        "wire::test_metadata_of_grpcio",
        REFUSED,
    ),
    "ASCII-Header": ("wire::test_metadata_of_grpcio", "net::test_metadata"),
    "Header-Name": ("net::test_metadata_that_cannot_be_sent", "wire::test_malformed_requests"),
    "ASCII-Value": ("net::test_metadata_that_cannot_be_sent",),
    "order of headers": ("wire::test_malformed_requests", ON_THE_WIRE),
    "case of paths": ("wire::test_paths_are_case_sensitive",),
    "no timeout": (LEFT_OUT,),
    "415": ("wire::test_other_content_types_are_415", "wire::test_requests_that_are_not_grpc"),
    "reserved names": ("net::test_metadata_that_cannot_be_sent",),
    "padded and un-padded": ("wire::test_binary_metadata",),
    "duplicate names": ("wire::test_values_of_one_name_stay_in_order",),
    "joined binary values": ("wire::test_binary_metadata",),
    "invalid ASCII-Value": ("wire::test_values_that_are_no_ascii_are_no_error",),
    "size of request headers": (REFUSED, "wire::test_oversized_headers_end_their_call_only"),
    "Length-Prefixed-Message": (
        MESSAGES,
        "wire::test_messages_in_random_pieces",
        "wire::test_bodies_that_are_refused_with_a_status",
    ),
    "Compressed-Flag": (
        "wire::test_plain_messages_may_come_on_a_compressed_stream",
        "wire::test_bodies_that_are_refused_with_a_status",
    ),
    "Message-Length": (MESSAGES, "wire::test_a_large_message_is_refused_before_it_is_kept"),
    "Message": ("net::test_empty_and_large_unary", "wire::test_a_bomb_stops_at_the_limit"),
    "a context for each message": ("wire::test_plain_messages_may_come_on_a_compressed_stream",),
    "a flag without an encoding": ("wire::test_a_compressed_message_is_refused",),
    "EOS": ("wire::test_streaming_call", "wire::test_request_trailers_end_a_call"),
    "empty DATA": ("wire::test_streaming_call", "net::test_empty_stream"),
    "Response": ("wire::test_answers", "wire::test_answer_is_headers_data_trailers"),
    "Response-Headers": ("wire::test_answer_is_headers_data_trailers",),
    "Trailers-Only": ("wire::test_failure_is_trailers_only", "wire::test_answers"),
    "Trailers": ("wire::test_answer_is_headers_data_trailers",),
    "HTTP-Status": ("wire::test_answer_is_headers_data_trailers", "net::test_strange_answers"),
    "Status": ("net::test_statuses", "wire::test_failure_is_trailers_only"),
    "Status-Message": PERCENT,
    "Percent-Encoded": PERCENT,
    "Percent-Byte-Unencoded": PERCENT,
    "Percent-Byte-Encoded": PERCENT,
    "status even if OK": ("wire::test_answer_is_headers_data_trailers",),
    "end of a response": ("wire::test_answer_is_headers_data_trailers", "wire::test_answers"),
    "broken deployments": (
        "net::test_strange_answers",
        "wire::test_an_http_status_has_a_code",
    ),
    "size of response headers": ("wire::test_metadata_of_an_answer_is_bounded",),
    "broken percent-encoding": ("wire::test_malformed_status_messages_are_kept",),
    "User Agents": ("wire::test_metadata_of_grpcio", "wire::test_what_may_be_said_of_a_message"),
    "Idempotency and Retries": (
        "net::test_unprocessed_calls_are_tried_again",
        "net::test_a_call_that_was_answered_is_not_made_again",
    ),
    "Stream Identification": ("wire::test_a_stream_is_not_opened_again",),
    "Data Frames": ("wire::test_messages_in_random_pieces", MESSAGES),
    "Early Server Closure": (
        "wire::test_early_end_asks_the_client_to_stop",
        "wire::test_an_early_status_stops_sending",
    ),
    "Errors": ("wire::test_failure_is_trailers_only", "net::test_handler_bug_is_internal"),
    "codes of RST_STREAM": ("wire::test_a_reset_stream_has_a_status", "wire::test_answers"),
    "Client Cancellation": ("net::test_cancel", "net::test_handlers_are_cancelled"),
    "deadline at the server": ("net::test_deadline", "net::test_timeout_and_cancel"),
    "Security": ("net::test_grpcio_over_tls", "net::test_the_identity_of_a_client_is_handed_up"),
    "GOAWAY": (
        "net::test_drain",
        "wire::test_drain_says_goaway_twice",
        "wire::test_goaway_splits_the_calls",
    ),
    "PING": ("wire::test_ping_is_answered_and_acknowledged", "net::test_silence_is_noticed"),
}


@cache
def named_in(room: str) -> set[str]:
    """The tests of a folder."""
    return {
        node.name
        for path in (TESTS / room).glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


TABLES = {"RFC 9113": SECTIONS, "RFC 7541": HPACK, "gRPC": GRPC}


@pytest.mark.parametrize(
    ("book", "section"), [(book, section) for book in TABLES for section in TABLES[book]]
)
def test_every_section_has_tests(book: str, section: str) -> None:
    """Each named test is there under its name."""
    named = TABLES[book][section]
    assert named
    for one in named:
        room, _, name = one.partition("::")
        assert name in named_in(room), f"{book}, {section}: there is no {one}"


@pytest.mark.parametrize(
    ("chapters", "table", "others"), [(RFC_9113, SECTIONS, NOT_OURS), (RFC_7541, HPACK, {})]
)
def test_no_section_is_left_out(
    chapters: dict[int, int], table: dict[str, object], others: dict[str, str]
) -> None:
    """It has tests, or there is a reason that it has none; not both."""
    every = {f"{n}.{m}" for n, most in chapters.items() for m in range(1, most + 1)}
    shown = {".".join(section.split()[0].split(".")[:2]) for section in table}
    assert shown | others.keys() == every
    assert not shown & others.keys()


def test_no_rule_of_grpc_is_left_out() -> None:
    """Each has tests, or a reason; what has tests is a rule."""
    rules = [rule.strip() for rule in GRPC_RULES.replace("\n", " ").split(";")]
    assert len(rules) == len(set(rules))
    assert not GRPC.keys() & GRPC_NOT_OURS.keys()
    assert GRPC.keys() | GRPC_NOT_OURS.keys() == set(rules)
