//go:build darwin || dragonfly || freebsd || illumos || netbsd || openbsd

package mutex

// There are no abstract sockets here: the file is all there is.

func bindSocket(string) (int, error) { return -1, nil }
func closeSocket(int) error          { return nil }
func hasWaiters(int) bool            { return false }
