//go:build darwin || dragonfly || freebsd || illumos || netbsd || openbsd

package mutex

// There are no abstract sockets here. What is left when the file is removed is a second file.
// Cleaners of temporary files treat the two directories differently, or, where one is a link
// to the other (hier(7) of OpenBSD), at least the hidden name.
const spareDir = "/var/tmp"

func bindSocket(string) (int, error) { return -1, nil }
func closeSocket(int) error          { return nil }
func hasWaiters(int) bool            { return false }
