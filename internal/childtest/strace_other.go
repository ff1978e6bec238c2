//go:build !linux

package childtest

func threadID() int { return 0 }
