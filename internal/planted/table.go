//go:build planted

package planted

// Info is what there is to say of one bug.
type Info struct {
	Bug  Bug
	Name string
	// Rule is what it breaks (docs/protocol.md).
	Rule string
	// What is broken, in a sentence.
	What string
	// Seeds is within how many seeds the simulator finds it.
	Seeds int
	// Masked tells what else keeps this bug from showing; it need not be found, and
	// does not count.
	Masked string
}

// All is every bug, in the order of the rules.
var All = []Info{
	{AckBeforeStored, "ack-before-stored", "R1", "A backup acknowledges an operation before it is in its store.", 100, ""},
	{CommitBeforeOwnStore, "commit-before-own-store", "R2", "A primary counts its own copy before it is in its store.", 100, ""},
	{GapTaken, "gap-taken", "R1", "A replica takes an operation that does not follow what it has.", 300, ""},

	{WriteAnsweredBeforeCommit, "write-answered-before-commit", "R2", "A write is answered as soon as it is ordered.", 100, ""},
	{ReadPastWrites, "read-past-writes", "R2", "A get of a key with a write in flight answers the new value at once.", 100, ""},
	{InFlightIgnored, "in-flight-ignored", "R2", "An operation is executed on the stored value although a newer one is in flight: a cas compares, an incr counts, with the old one.", 100, ""},
	{JoinerNotCounted, "joiner-not-counted", "R2", "A joiner that has caught up is reported, but commits do not wait for it.", 300, ""},
	{JoinerWithoutLease, "joiner-without-lease", "R2, R5", "Reads do not need a lease of a counted joiner.", 1500, ""},
	{CountedBeforeCopied, "counted-before-copied", "R6", "A joiner is counted and reported before the snapshot is in.", 100, ""},
	{CountedBeforeCaughtUp, "counted-before-caught-up", "R6", "A joiner is counted before it has stored all that is committed.", 1500, ""},
	{CountedWithoutGrant, "counted-without-grant", "R6", "A joiner is counted before it has granted a lease.", 0, "Once it is counted its lease is needed for every read, so a primary that counts it too early only stops answering until it has one; the rule spares that pause."},

	{OldEpochTaken, "old-epoch-taken", "R3, R10", "A backup takes operations of an older epoch's primary.", 100, ""},
	{RoleOutlivesIncarnation, "role-outlives-incarnation", "R3", "A restarted server goes on in the roles that its last run had.", 100, ""},
	{SeqRestarts, "seq-restarts", "R1", "After a restart sequence numbers begin again.", 100, ""},
	{SeqPerEpoch, "seq-per-epoch", "R1", "Sequence numbers begin again with each epoch.", 100, ""},

	{RingsNotCompared, "rings-not-compared", "R4", "A new primary goes on without making the members agree.", 100, ""},
	{RingsOneWay, "rings-one-way", "R4", "A new primary mends what others lack, not what it lacks itself.", 100, ""},
	{SessionsNotMended, "sessions-not-mended", "R4, R8", "A new primary mends keys but not sessions.", 1500, ""},
	{RingReadTooEarly, "ring-read-too-early", "R4", "A new primary compares rings and reads values before all that it took is in its store.", 100, ""},
	{LateReconcileTaken, "late-reconcile-taken", "R4", "A backup takes a Reconcile that comes after operations of the epoch.", 0, "The frames of one connection stay in order, and a new connection ends the old one and asks for the ring again; only frames reordered by hand could bring a Reconcile so late."},
	{ServedBeforeRecorded, "served-before-recorded", "R4", "A primary serves when it reports, before its epoch is recorded Active.", 1500, ""},
	{ActiveKeptAtFailover, "active-kept-at-failover", "R4", "A failover leaves the partition Active.", 100, ""},
	{ActiveKeptAtDrop, "active-kept-at-drop", "R4", "The managers drop a restarted backup and the partition stays Active.", 100, ""},
	{LastKnownNotRecorded, "last-known-not-recorded", "R4", "Recording an activation leaves LastKnown as it was.", 100, ""},
	{PromotedUnasked, "promoted-unasked", "R4, R6", "The managers make a joiner a replica before its primary has asked for it.", 100, ""},
	{JoinerLeads, "joiner-leads", "R4, R9", "With all replicas gone a joiner, which never activated, leads.", 100, ""},
	{ActivationOfAnyEpoch, "activation-of-any-epoch", "R4", "An activation reported for an older epoch is recorded for the present one.", 0, "The primary itself still waits for its rings and leases before it serves, and an older epoch's members hold all that was acknowledged; all that is early is LastKnown."},
	{InSyncOfAnyEpoch, "in-sync-of-any-epoch", "R6", "A joiner reported for an older epoch becomes a replica of the present one.", 1500, ""},

	{NoLease, "no-lease", "R5", "A get is answered without leases.", 100, ""},
	{LeaseNotRechecked, "lease-not-rechecked", "R5", "The lease is looked at before the value is read from the store, not after.", 300, ""},
	{LeaseOnWallClock, "lease-on-wall-clock", "R5", "Leases are measured by wall clocks, which are set now and then.", 300, ""},
	{LeaseClockStops, "lease-clock-stops", "R5", "The holder's clock does not count the time in which it is suspended.", 1500, ""},
	{LeaseFromArrival, "lease-from-arrival", "R5", "A lease is counted from when the grant came, not from when it was asked for.", 3000, ""},
	{DriftTheWrongWay, "drift-the-wrong-way", "R5", "The drift of clocks is allowed for the wrong way round: the holder counts more than the granter.", 1500, ""},
	{GrantsWithoutMap, "grants-without-map", "R5", "A grant counts whatever map its granter had.", 1500, ""},
	{GrantsForgottenAtBoot, "grants-forgotten-at-boot", "R5", "A starting server does not count itself as having granted every lease.", 0, "A restarted server leads again only as a counted joiner, which has granted the recorded primary a lease since (it is asked for one first on every connection), or by R9 after 2 s, four times a lease."},
	{WaitSkipped, "wait-skipped", "R5", "A new primary does not wait until the leases that it granted to the old one have ended.", 1500, ""},
	{WaitForWrongPrimary, "wait-for-wrong-primary", "R5", "A new primary waits for the leases of the last epoch's primary, which never served, instead of the last recorded one's.", 1500, ""},
	{CacheOfEarlierTerm, "read-of-earlier-term", "R5", "A value that was asked for in an earlier time as primary answers a request of now.", 1500, ""},

	{JoinBeforeServing, "join-before-serving", "R6", "Joins begin before the primary serves.", 1500, ""},
	{RingNotSentToJoiner, "ring-not-sent-to-joiner", "R6", "A joiner gets no ring.", 1500, ""},
	{SessionsNotSentToJoiner, "sessions-not-sent-to-joiner", "R6, R8", "A joiner gets no session table.", 1500, ""},
	{NoTombstones, "no-tombstones", "R6", "Live deletes leave no tombstones during a join.", 1500, ""},
	{SnapshotOverLive, "snapshot-over-live", "R7", "A join's snapshot replaces what live operations of the join wrote.", 1500, ""},
	{JoinEndsEarly, "join-ends-early", "R6", "A join is done although the snapshot may hold operations that the joiner has not taken.", 0, "The joiner is counted only when it has stored all that is committed, and what it has beyond that it takes from the stream before it can lead, unless that stops for just the moment between."},

	{ExtraKeysStay, "extra-keys-stay", "R7", "Keys that the primary does not have are not deleted on return.", 1500, ""},
	{UnfinishedTakenAsEqual, "unfinished-taken-as-equal", "R7", "A store whose join is unfinished is taken at its position.", 1500, ""},
	{WholeOverData, "whole-over-data", "R7", "A joiner that has data is sent all that the primary has, and keeps what it has beside that.", 1500, ""},
	{TailByNumber, "tail-by-number", "R7", "A joiner's position is looked up by its sequence number alone, whatever its epoch.", 1500, ""},
	{NewerVersionStays, "newer-version-stays", "R7", "A join's snapshot does not replace items of a higher version.", 1500, ""},

	{RetryExecutedAgain, "retry-executed-again", "R8", "A retry is executed as a new operation.", 1500, ""},
	{FailedRetryNotRecorded, "failed-retry-not-recorded", "R8", "A retry that fails without a write is not put into the stream.", 1500, ""},
	{AnyTryHeeded, "any-try-heeded", "R8", "A gateway heeds the answer to any of its tries.", 1500, ""},
	{UnknownSessionRepeated, "unknown-session-repeated", "R8", "A gateway repeats a retry whose session is unknown in a new session.", 1500, ""},
	{GivenUpExecuted, "given-up-executed", "R8", "A write below the session's lowest outstanding number is executed.", 0, "The session's ring still has the result of a number that was given up, unless the window has moved past it; a gateway that gave up does not heed the answer."},
	{FateTakenAsNotDone, "fate-taken-as-not-done", "R8", "A primary that steps down says of writes that it had ordered that they were refused.", 0, "The next try carries the same number of the same session, so it finds the result of what was done, whether it says that it is a retry or not."},
	{TokenForgotten, "token-forgotten", "R8", "A retry of a meta get is not told that its first try won the token.", 1500, ""},

	{ResumeNotAlone, "resume-not-alone", "R9", "All stores that are back resume a partition together.", 1500, ""},
	{UncertainResumes, "uncertain-resumes", "R9", "A store that lost its tail with the power resumes like any other.", 1500, ""},
	{UnfinishedResumes, "unfinished-resumes", "R9", "A store whose join is unfinished resumes.", 0, "A join begins only when the primary serves (R6), and by then LastKnown is without the joiner; only a loss of power right after a join leaves an unfinished store there, and it has lost its tail too."},
	{ReturnsInItsEpoch, "returns-in-its-epoch", "R9", "A fault server that comes back with a last replica leads on in the epoch in which it led.", 1500, ""},

	{WriteOfOldEpoch, "write-of-old-epoch", "R10", "A primary takes requests of gateways that know an older epoch.", 0, "The primary of the newer epoch executes it as any other, once by its number (R8); the epoch matters where the server is not the primary any more, and such a server refuses it anyway."},

	{ExpiryAtBackup, "expiry-at-backup", "R11", "A backup judges expiry by its own clock.", 1500, ""},
	{ExpiredNotDeleted, "expired-not-deleted", "R11", "An expired item is a miss without being deleted.", 300, ""},
	{FlushNotSentToJoiner, "flush-not-sent-to-joiner", "R11, R6", "A joiner does not get the flush record.", 1500, ""},
	{FlushNotVersioned, "flush-not-versioned", "R11", "Items below the flush's version are not misses.", 1500, ""},
	{FlushInMemory, "flush-in-memory", "R11", "The flush record is lost in a restart.", 1500, ""},

	{ManifestUnchecked, "manifest-unchecked", "P5", "The manifest of a large value is taken although its chunks have been collected.", 100, ""},
	{QueuedManifestUnchecked, "queued-manifest-unchecked", "P5", "A manifest that waited for its key's item to be read is taken although its chunks have been collected.", 3000, ""},
	{MarkerLast, "marker-last", "P5", "The marker is stored after the chunks, so that it may come when they have been collected.", 100, ""},
	{ListedCollected, "listed-collected", "P5", "Chunks are collected although an item lists them.", 1500, ""},
}
