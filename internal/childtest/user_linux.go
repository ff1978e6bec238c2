package childtest

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// AsAnother runs f, in another goroutine, with the rights of user and group 65534 on files.
// Only root can do that.
func AsAnother(tb testing.TB, f func()) {
	tb.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for _, err := range []error{unix.Setgroups(nil), unix.Setfsgid(65534), unix.Setfsuid(65534)} {
			if err != nil {
				tb.Error(err)
				return
			}
		}
		f()
	}()
	<-ended
}
