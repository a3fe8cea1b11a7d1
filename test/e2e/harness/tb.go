package harness

// TB is what the harness wants of a test: *testing.T has it, and so has a
// program that runs a cluster without being a test. Fatal, Fatalf and Skip do
// not return.
type TB interface {
	Helper()
	Name() string
	TempDir() string
	Cleanup(func())
	Failed() bool
	Log(args ...any)
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}
