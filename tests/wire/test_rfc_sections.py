"""The sections of RFC 9113 that bind a server or a client, each with the tests that show it.

What is not in the table does not bind us: 3.1 to 3.3 (upgrade, ALPN identifiers are TLS's), 5.3
(priority is deprecated; frames of it are ignored), 8.4 (push, which we neither send nor allow),
8.5 (CONNECT, which gRPC does not use), 9.1 (connection reuse is the client's choice).
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

SECTIONS: dict[str, tuple[str, ...]] = {
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
    "8.7 reliability": (
        "net::test_unprocessed_calls_are_tried_again",
        "net::test_a_stream_that_is_not_processed_begins_again",
        "net::test_calls_below_a_goaway_end",
    ),
    "9.2 use of TLS": (
        "net::test_calls_over_tls",
        "net::test_grpcio_over_tls",
    ),
    "10.5 denial of service": (
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


@cache
def named_in(room: str) -> set[str]:
    """The tests of a folder."""
    return {
        node.name
        for path in (TESTS / room).glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_has_tests(section: str) -> None:
    """Each named test is there under its name."""
    assert SECTIONS[section]
    for named in SECTIONS[section]:
        room, _, name = named.partition("::")
        assert name in named_in(room), f"{section}: there is no {named}"
