// Package tools is the operator's commands: kumoctl, kumostat, kumohash and
// kumolog, each a function of its command line, so that tests can call it.
// What needs more than HTTP lies beside it: kumotop in top (a terminal),
// kumomergedb in mergedb (the store), kumobench in bench (load).
//
// Output that scripts read keeps the original's form; --json
// prints the same as one JSON value. Errors go to standard error, with exit
// status 1, and 2 for a command line that cannot be taken.
package tools
