#!/usr/bin/env bash
# Tests by name against the absence of what they test: each passes as it is, and fails once its mutation
# (src/protocol/mutation.rs) is switched on. ONLY=word: rows with it alone.
set -uo pipefail
cd "$(dirname "$0")/.."
# mutation, test binary, test
rows="
AimedKeys              protocol aimed_key::aimed_key_is_refused_whoever_signs
AimedKeys              protocol aimed_key::aimed_key_is_not_signed_with
AimedKeys              protocol key_sets::key_sets_with_a_key_of_another_are_refused
ForeignWitnessBelieved protocol consent::foreign_witness_that_is_invalid_reaches_no_application
UnverifiedInputsJoined protocol consent::foreign_witness_of_unknown_kind_needs_the_word_of_each_application
MissingCoinsJoined     protocol consent::unbroadcast_parent_is_refused_by_who_can_look_for_it
LockIgnored            protocol lock_time::lock_time_moves_the_turns_to_when_it_is_met
BlindUnasked           protocol consent::raw_message_over_a_wallet_key_that_is_an_output_key_needs_the_word_of_each_application
SignOnlyTakesTurn      protocol signing_alone::signing_alone_ends_with_the_signatures
ExpiryForgets          protocol late_certificate::late_certificate_after_the_expiry_is_taken_and_submitted_in_turn
AbortTakesTurn         protocol late_certificate::own_abort_stands_and_the_certificate_is_kept_and_passed_on
ConsentOutlivesAbort   protocol consent::own_abort_stands_against_a_consent_that_waits_for_the_chain
ReplacementEnds        protocol doubt::replacement::replacement_pauses_the_older_watch_and_only_the_final_depth_ends_it
ReplacementPausesForEver protocol doubt::replacement::replacement_pauses_for_a_day_at_most_while_it_is_not_in_a_block
SubmissionWaitsForDisk protocol disks::full_disk_still_submits_and_passes_the_certificate_on
SubmissionWaitsForDisk protocol disks::hanging_disk_holds_back_own_words_only
CloseEndsWatch         protocol endings::closed::close_while_watching_is_refused_until_the_final_depth
AbandonTakesTurn       protocol endings::closed::close_while_watching_is_abandoned_and_the_certificate_is_passed_on
VerifiedAgain          protocol verified::partials_are_verified_once_whatever_comes_after_a_false_transcript
RefusedComeAgain       protocol verified::late_failing_proposal_ends_its_frame_and_is_checked_once
CheckedWithoutBudget   protocol verified::late_failing_proposals_have_a_budget_of_time
SilenceIsIgnored       protocol doubt::early::gone_is_whose_cable_is_pulled_although_its_connection_stays
StarIsGone             protocol doubt::early::who_was_never_connected_is_not_gone
PaceBeyondTimeout      protocol doubt::pace::a_pace_follows_from_what_the_own_observer_saw_and_never_exceeds_the_timeout
SkewOfNothing          protocol doubt::clocks::clock_skew_within_the_tolerance_is_not_told
ReputationFromClaims   protocol doubt::reputation::reputation_takes_nobodys_word
"
flags=(--quiet --no-default-features --features mutations --test protocol)
cargo test "${flags[@]}" --no-run || { echo "mutants: 0 passed, 1 failed"; exit 1; }
run() { # binary, test: exactly one test ran, and passed
	cargo test --quiet --no-default-features --features mutations --test "$1" -- --exact "$2" 2>&1
}
passed=0 failed=0
while read -r mutation binary name; do
	[[ -n "$mutation" && "$mutation $binary $name" == *"${ONLY:-}"* ]] || continue
	sound=$(run "$binary" "$name")
	broken=$(LIBMUSIG_MUTATION=$mutation run "$binary" "$name")
	result=ok
	grep -q "^test result: ok. 1 passed" <<<"$sound" || result="FAILED as it is"
	# A name that is none of the mutations fails too, and proves nothing.
	if ! grep -q "^test result: FAILED. 0 passed; 1 failed" <<<"$broken" || grep -q "is none of" <<<"$broken"; then
		result="NOT FOUND"
	fi
	if [ "$result" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	printf '%-24s %-9s %s\n' "$mutation" "$result" "$binary $name"
done <<<"$rows"
echo "mutants: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
