// Package planted is a list of bugs that test builds can switch on, one at a
// time: each breaks one rule of the protocol (docs/protocol.md) at the place that
// keeps it. The simulator must find each of them; one that it does not find
// says that the simulator looks past that rule.
//
// Only builds with the tag planted have switches. In any other Is is a constant
// false and whatever it guards is not compiled (carried_test.go).
package planted

// Bug is one way to break a rule. Its name, the rule and what is broken are in
// the table of such builds (table.go).
type Bug uint8

// The bugs, in the order of the rules.
const (
	None Bug = iota

	AckBeforeStored
	CommitBeforeOwnStore
	GapTaken

	WriteAnsweredBeforeCommit
	ReadPastWrites
	InFlightIgnored
	JoinerNotCounted
	JoinerWithoutLease
	CountedBeforeCopied
	CountedBeforeCaughtUp
	CountedWithoutGrant

	OldEpochTaken
	RoleOutlivesIncarnation
	SeqRestarts
	SeqPerEpoch

	RingsNotCompared
	RingsOneWay
	SessionsNotMended
	RingReadTooEarly
	LateReconcileTaken
	ServedBeforeRecorded
	ActiveKeptAtFailover
	ActiveKeptAtDrop
	LastKnownNotRecorded
	PromotedUnasked
	JoinerLeads
	ActivationOfAnyEpoch
	InSyncOfAnyEpoch

	NoLease
	LeaseNotRechecked
	LeaseOnWallClock
	LeaseClockStops
	LeaseFromArrival
	DriftTheWrongWay
	GrantsWithoutMap
	GrantsForgottenAtBoot
	WaitSkipped
	WaitForWrongPrimary
	CacheOfEarlierTerm

	JoinBeforeServing
	RingNotSentToJoiner
	SessionsNotSentToJoiner
	NoTombstones
	SnapshotOverLive
	JoinEndsEarly

	ExtraKeysStay
	UnfinishedTakenAsEqual
	WholeOverData
	TailByNumber
	NewerVersionStays

	RetryExecutedAgain
	FailedRetryNotRecorded
	AnyTryHeeded
	UnknownSessionRepeated
	GivenUpExecuted
	FateTakenAsNotDone
	TokenForgotten

	ResumeNotAlone
	UncertainResumes
	UnfinishedResumes
	ReturnsInItsEpoch

	WriteOfOldEpoch

	ExpiryAtBackup
	ExpiredNotDeleted
	FlushNotSentToJoiner
	FlushNotVersioned
	FlushInMemory

	ManifestUnchecked
	QueuedManifestUnchecked
	MarkerLast
	ListedCollected

	bugs // how many there are
)
