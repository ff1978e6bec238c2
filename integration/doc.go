// Package integration drives real servers from outside: the tusd-filelock binary, stock
// tusd, nginx, tus-js-client, signals and namespaces. It holds tests and benchmarks only.
//
// The tests build ./cmd/tusd-filelock once. These flags and variables change a run:
//
//	-server PATH                     test this binary instead of building one
//	-chaos 2m                        how long the chaos test goes on (default 15s), and the
//	                                 one with readers for a third of that
//	-seed N                          repeat the choices of an earlier chaos run
//	TUSD_FILELOCK_RACE=1             build the server with the race detector
//	TUSD_FILELOCK_REQUIRE_ALL=1      fail where node, nginx or root is missing, do not skip
//
// The benchmarks measure what a client sees: a PATCH stalls, another connection asks with
// HEAD where to go on, and the answer's delay is the figure:
//
//	go test -run '^$' -bench Resume -benchtime 20x ./integration
//
// Others count the downloads of one upload that a handler serves, by locker:
//
//	go test -run '^$' -bench 'OneRead|ParallelReads' -benchtime 1x ./integration
package integration
