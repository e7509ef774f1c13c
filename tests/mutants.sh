#!/usr/bin/env bash
# Tests by name against the absence of what they test: each passes as it is, and fails once its mutation (src/mutation.rs)
# is switched on. ONLY=word: rows with it alone. A test that cannot run here is skipped by name.
set -uo pipefail
cd "$(dirname "$0")/.."
# mutation, test binary, test
rows="
AimedKeys                protocol aimed_key::aimed_key_is_refused_whoever_signs
AimedKeys                protocol aimed_key::aimed_key_is_not_signed_with
AimedKeys                protocol key_sets::key_sets_with_a_key_of_another_are_refused
ForeignWitnessBelieved   protocol consent::foreign_witness_that_is_invalid_reaches_no_application
ForeignWitnessBelieved   chain    foreign_witness::foreign_witness_of_p2wpkh_is_verified
ForeignWitnessBelieved   chain    foreign_witness::foreign_witness_of_a_key_path_is_verified
UnverifiedInputsJoined   protocol consent::foreign_witness_of_unknown_kind_needs_the_word_of_each_application
MissingCoinsJoined       protocol consent::unbroadcast_parent_is_refused_by_who_can_look_for_it
MissingCoinsJoined       node     consent::unbroadcast_parent_is_refused_by_a_node_whose_observer_knows
LockIgnored              protocol lock_time::lock_time_moves_the_turns_to_when_it_is_met
LockIgnored              node     lock_time::lock_time_that_a_broadcaster_answers_is_neither_a_refusal_nor_an_alarm
BlindUnasked             protocol consent::raw_message_over_a_wallet_key_that_is_an_output_key_needs_the_word_of_each_application
BlindUnasked             node     consent::raw_message_over_a_wallet_key_needs_the_word_of_the_application
BlindUnasked             node     wallet::descriptor_of_the_own_wallet_keeps_its_keys_from_raw_messages
SignOnlyTakesTurn        protocol signing_alone::signing_alone_ends_with_the_signatures
ExpiryForgets            protocol late_certificate::late_certificate_after_the_expiry_is_taken_and_submitted_in_turn
AbortTakesTurn           protocol late_certificate::own_abort_stands_and_the_certificate_is_kept_and_passed_on
ConsentOutlivesAbort     protocol consent::own_abort_stands_against_a_consent_that_waits_for_the_chain
ReplacementEnds          protocol doubt::replacement::replacement_pauses_the_older_watch_and_only_the_final_depth_ends_it
ReplacementPausesForEver protocol doubt::replacement::replacement_pauses_for_a_day_at_most_while_it_is_not_in_a_block
SubmissionWaitsForDisk   protocol disks::full_disk_still_submits_and_passes_the_certificate_on
SubmissionWaitsForDisk   node     disk::full_disk_still_submits_a_certificate_that_it_cannot_store
SubmissionWaitsForDisk   protocol disks::hanging_disk_holds_back_own_words_only
CloseEndsWatch           protocol endings::closed::close_while_watching_is_refused_until_the_final_depth
CloseEndsWatch           node     api::close_while_watching_is_refused_and_abandoning_takes_no_turn
AbandonTakesTurn         protocol endings::closed::close_while_watching_is_abandoned_and_the_certificate_is_passed_on
VerifiedAgain            protocol verified::partials_are_verified_once_whatever_comes_after_a_false_transcript
RefusedComeAgain         protocol verified::late_failing_proposal_ends_its_frame_and_is_checked_once
CheckedWithoutBudget     protocol verified::late_failing_proposals_have_a_budget_of_time
SilenceIsIgnored         protocol doubt::early::gone_is_whose_cable_is_pulled_although_its_connection_stays
StarIsGone               protocol doubt::early::who_was_never_connected_is_not_gone
PaceBeyondTimeout        protocol doubt::pace::a_pace_follows_from_what_the_own_observer_saw_and_never_exceeds_the_timeout
SkewOfNothing            protocol doubt::clocks::clock_skew_within_the_tolerance_is_not_told
ReputationFromClaims     protocol doubt::reputation::reputation_takes_nobodys_word
AskFirstTooLong          protocol doubt::pace::each_turn_opens_one_pace_after_the_one_before_and_asks_first
GoneWithoutGrace         protocol doubt::early::a_gone_coordinator_is_passed_over_after_a_second
HoldWithoutGrace         protocol doubt::early::a_coordinator_that_does_not_hold_the_signatures_is_waited_for_for_five_seconds
MakeableUnchecked        protocol key_sets::makeable_is_signable
OthersUnanswered         protocol endings::arrivals::same_answer_about_a_session_of_others_as_about_an_unknown_one
ForkKeepsNonces          protocol signer::nonce_pages_are_locked_undumped_wiped_on_fork_and_gone_after_use
TokenIsNumber            node     fork::fork_token_tells_a_child_with_its_parents_number
ParentsValues            node     fork::fork_child_of_a_stopped_node_starts_its_own
OwnerIgnored             node     disk::store_of_another_key_is_refused_and_names_both
StopHangs                node     disk::hanging_disk_delays_a_stop_and_a_suspension_for_half_a_minute_at_most
UnansweredSeek           node     outsider::before_consent_nobody_is_dialled
EverybodyAccepted        node     api::allow_list_is_set_in_the_builder_and_while_running
SequenceForgotten        node     outsider::presence_sequence_is_kept_across_a_restart
FutureBelieved           network  poison::presence_sequence_from_the_future_is_refused
HearsayCounts            network  poison::presence_sequence_counts_for_nothing_against_the_peer_itself
IdentifyUncounted        network  identify::identify_push_without_end_is_a_violation
OneServerBelieved        network  identify::false_addresses_of_one_server_of_two_are_not_announced
SilentSocketsStay        network  places::silent_sockets_keep_nobody_out
StrangersTakeAll         network  places::idle_strangers_do_not_keep_two_signers_apart
KnownAreStrangers        network  places::same_address_cosigner_connects_while_its_address_is_banned_for_all_others
RecordsWithoutShare      network  poison::forged_records_of_one_peer_use_up_nothing_of_the_others
NamesUnresolved          network  names::resolver_follows_the_systems_name_servers
PortsShared              network  ports::port_taken_by_another_node_is_reported_and_all_connections_are_the_first_ones
CausesRepeated           network  unreachable::unreachable_peer_is_reported_once_and_again_when_the_cause_changes
ProxyPassedBy            network  proxy::through_proxy_goes_everything_and_nothing_beside
ShownToStrangers         network  first_contact::first_contact_shows_nothing_to_who_does_not_know_the_key
ShownToStrangers         network  first_contact::first_contact_of_a_port_scan_is_a_version_and_nothing_else
PastedAsTyped            node     addresses::pasted_address_with_spaces_around_it_is_dialled
ConnectionsStay          node     api::network_changed_replaces_the_connections_at_once
WarningsUnsaid           chain    summary::summary_warns_of_what_to_look_at_twice
WarningsUnsaid           node     consent::summary_warns_of_what_other_sessions_spend_and_pay
TextUnescaped            chain    summary::hostile_text_is_escaped_cut_and_last
PsbtVersionsMixed        chain    psbt::maps::psbt_v0_and_psbt_v2_exclude_and_require_each_others_fields
PsbtLocksIgnored         chain    psbt::maps::psbt_v2_has_the_lock_time_that_its_inputs_require
PsbtFieldsDropped        chain    psbt::maps::psbt_v0_keeps_what_it_does_not_know
PsbtFieldsDropped        chain    psbt::core_sessions::core_sessions_are_read_and_written_back_as_the_same_bytes_psbt_v0_psbt_v2
PsbtPartialsBelieved     chain    psbt::steps::psbt_v0_refuses_wrong_missing_and_conflicting_answers_by_name
PsbtPartialsBelieved     node     psbt_signer::psbt_signer_that_cannot_be_reached_is_asked_again_and_one_that_fails_waits_for_the_application
PsbtDuplicatesTaken      chain    psbt::hostile::hostile_psbt_duplicate_keys
PsbtWithoutLimits        chain    psbt::hostile::hostile_psbt_of_work_without_end
PsbtWithoutLimits        chain    psbt::hostile::hostile_psbt_of_4_mib_of_unknown_fields
OldNoncesTaken           node     psbt_signer::psbt_signer_folder_reads_no_answer_of_another_session_as_a_new_one
SecondRoundAgain         node     psbt_signer::one_second_round_has_nonces_that_restarts_announce_again_without_the_device
ChecksumIgnored          chain    descriptor::descriptor_checksums
GapIgnored               node     wallet::descriptor_of_the_own_wallet_tells_change_within_its_gap_limit
CodesFirst               chain    sources::classify::classify_words_decide_before_codes
CardUnverified           chain    group::group_card_that_was_changed_anywhere_is_refused
EndingForgotten          storage  fixtures::fixtures_open
CodesFirst               bitcoin  evidence::regtest_every_kind_of_answer_to_a_submission
LockIgnored              bitcoin  late::regtest_lock_time_by_height_is_waited_for_by_all
AlarmWithoutTransaction  node     migrating::emergency_procedure
CountsAgain              node     metrics::metrics_match_a_script_with_failover_a_refusal_and_a_restart
MetricsUntold            node     metrics::alerts_name_what_a_node_exports
MetricsUntold            node     metrics::dashboard_queries_are_valid_and_name_what_a_node_exports
FailuresUnbounded        node     broadcaster_failed::broadcaster_failed_is_bounded_and_cut
CongestionUnasked        node     pace::on_a_congested_chain_a_coordinator_has_more_time_as_long_as_the_observer_says_so
SignOnlyTakesTurn        ffi      programs::signing_alone_ends_with_the_signatures
SamplesWithoutLabel      ffi      programs::metrics_match_a_scripted_failover
"
rows=$(grep -F -- "${ONLY:-}" <<<"$rows" | grep .)
# Built once, and run without cargo.
mapfile -t tests < <(awk '{ print "--test"; print $2 }' <<<"$rows" | paste - - | sort -u | tr '\t' '\n')
built=$(cargo test --features mutations --no-run "${tests[@]}" 2>&1) || {
	echo "$built"
	echo "mutants: 0 passed, 1 failed"
	exit 1
}
echo "built in $SECONDS s"
run() { # binary, test
	timeout -k 10 300 "$(sed -nE "s/^ *Executable .*\((.*\/$1-[0-9a-f]{16})\)$/\1/p" <<<"$built")" --exact "$2" 2>&1
}
passed=0 failed=0 skipped=0
while read -r mutation binary name; do
	start=$SECONDS
	sound=$(run "$binary" "$name")
	broken=$(LIBMUSIG_MUTATION=$mutation run "$binary" "$name")
	result=ok
	grep -q "^test result: ok. 1 passed" <<<"$sound" || result="FAILED as it is"
	# A name that is none of the mutations fails too, and proves nothing.
	if ! grep -q "^test result: FAILED. 0 passed; 1 failed" <<<"$broken" || grep -q "is none of" <<<"$broken"; then
		result="NOT FOUND"
	fi
	! grep "^SKIPPED " <<<"$sound" || result=skipped
	case $result in
	ok) passed=$((passed + 1)) ;;
	skipped) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
	printf '%-24s %-9s %4s s  %s\n' "$mutation" "$result" $((SECONDS - start)) "$binary $name"
done <<<"$rows"
echo "in $SECONDS s"
echo "mutants: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
