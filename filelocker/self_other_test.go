//go:build !linux

package filelocker_test

// Only Linux is asked for what the tests want to know of their own process.

func thread() int { return 0 }

func voluntarySwitches() int64 { return 0 }
