//go:build !linux

package mutex

// listen has nothing to listen to: its caller polls.
func listen(string) (released <-chan struct{}, stop func()) { return nil, func() {} }
