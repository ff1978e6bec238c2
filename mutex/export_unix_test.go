//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex

// Break closes the descriptors under a mutex, so that it cannot be given back.
func Break(r Releaser) {
	h := r.(*mutex).hold
	_ = unlockFile(h.file)
	_ = closeSocket(h.socket)
}
