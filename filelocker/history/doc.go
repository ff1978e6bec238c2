// Package history holds no code: its tests record what several processes do with the locks of
// package filelocker while things go wrong, and check the record against what a lock is.
//
//	go test ./filelocker/history
//	go test ./filelocker/history -run TestHistories -histories=60s -timeout=10m -v
//
// # What runs
//
// Three processes with four workers each lock a handful of uploads, alone or, through
// filelocker.ShareReads, together with other readers. Some contexts end early; some release
// callbacks unlock at once, some have the worker unlock, some do nothing; some workers unlock
// twice. Meanwhile processes are killed and started again, stopped and continued, or killed
// while they are stopped, lock files are removed under their holders, and .stop files are left
// behind that nobody stands behind.
//
// # What is recorded
//
// Each call of Lock and Unlock, with the times before and after it on CLOCK_MONOTONIC, which
// all processes of a machine share, and what it returned. A record is written before the call
// and again after it, in one write each, so a kill loses nothing but what was under way. Kills
// have their times too, from before the signal until the dead process has been waited for,
// and so have removals.
//
// # What the model says
//
// The record of an upload is legal if each operation can be given one moment within its time,
// such that the following holds; porcupine finds such moments or proves that there are none.
//
//   - A lock is free, or one holder has it alone, or readers share it. It is had by processes:
//     within one, a holder has it alone, or readers share.
//   - Lock succeeds when the lock is free, or for a reader when readers have it. A Lock that
//     fails is legal at any time and changes nothing. Its error must be handler.ErrLockTimeout,
//     and its context must have ended.
//   - Unlock succeeds for a holder only. A second one must say ErrNotHeld.
//   - A removal ends what all current holders have: others can have the lock from that moment.
//     Their Unlock must say ErrLockLost, and no other may.
//   - A kill ends what the process has at one moment within its time. A call under way may have
//     had its effect before that, or not.
//
// A loss that has not been noticed yet may be told late: a lost exclusive lock can be handed on
// within its process, so that its Unlock says nothing and the next holder has a lost lock; and a
// reader can leave a lost lock without a word as long as other readers of it remain, who are
// told. The test logs how many parts of the histories needed that.
//
// No system call removes a file on condition. So an Unlock that is under way while the file is
// removed may have looked before that, and then remove the file of whoever came next.
//
// A dead holder's file is never removed: a process that has just judged it would replace the
// file of whoever came next.
//
// # How it is checked
//
// The record of an upload is cut where somebody certainly holds the lock alone and nothing is
// in doubt: whatever is under way then, a Lock takes effect after the cut and an Unlock before
// it. The parts are legal if and only if the whole is. Each has a time limit, and not to come
// to an end within it is a failure.
//
// An illegal part is drawn: an HTML page and the operations as JSON lines, in the directory that
// -pictures names, or else in a temporary one.
//
// TestModel has a legal and an illegal history for each rule; TestCorruptedHistories spoils
// recorded ones, and TestFlawedLockers records lockers that are wrong on purpose. All must be
// found.
//
// # Flags
//
//   - -histories is how long the workers run (3s).
//   - -hold is the longest ordinary hold (4ms); 0 unlocks at once.
//   - -seed repeats the choices of a run, though not what the scheduler makes of them.
//   - -pictures is the directory of what is drawn. It has to exist.
//
// TMPDIR decides on which file system the lock files are. The tests run on Linux only, where
// /proc/locks tells a living holder's file from a dead one's.
package history
