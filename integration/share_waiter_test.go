package integration_test

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests here have a holder that cannot be interrupted at once, because it is in a hook,
// and clients that hang up while they wait for it. tusd itself would let their requests wait
// on: it gives a request time to come to an end, here ten minutes.
var farOff = args("-request-completion-timeout", "10m", "-acquire-lock-timeout", "10m")

// busyHook is a hook that the test lets go on.
type busyHook struct {
	entered chan struct{}
	goOn    chan struct{}
	reply   hookReply
}

func (h *busyHook) handle(call hookCall) hookReply {
	h.entered <- struct{}{}
	select {
	case <-h.goOn:
	case <-call.done:
	}
	return h.reply
}

// waiter is a request whose client can hang up.
type waiter struct {
	hangUp func()
	ended  chan struct{}
}

// wait sends a request in the background.
func wait(t testing.TB, s *server, method string, u *upload) *waiter {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiter{ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		_, _ = request(ctx, method, s.url+u.id, nil)
	}()
	w.hangUp = func() {
		cancel()
		<-w.ended
	}
	t.Cleanup(w.hangUp)
	return w
}

// abandon has clients ask the server for the upload with each method, and hang up. It returns
// when the server has taken note, all while the holder goes on.
func abandon(t testing.TB, s *server, u *upload, another bool) {
	t.Helper()
	stop, from := u.file(s.dir)+".stop", len(s.out.String())
	if another {
		for _, method := range readAndDelete {
			w := wait(t, s, method, u)
			awaitFile(t, stop)
			w.hangUp()
			s.saidAfter(t, from, `event="client gone while waiting for a lock"`, requested(method, u))
			await(t, "the withdrawal of the request", func() bool {
				_, err := os.Lstat(stop)
				return os.IsNotExist(err)
			})
		}
		return
	}
	var group sync.WaitGroup
	for _, method := range readAndDelete {
		w := wait(t, s, method, u)
		group.Go(func() {
			defer w.hangUp()
			s.saidAfter(t, from, `event="still waiting for a lock of this process"`, requested(method, u))
		})
	}
	group.Wait()
	for _, method := range readAndDelete {
		s.saidAfter(t, from, `event="client gone while waiting for a lock of this process"`, requested(method, u))
	}
	require.NoFileExists(t, stop)
}

// requested is how the log names the request that waits.
func requested(method string, u *upload) string {
	return `request="` + method + " /files/" + u.id + `"`
}

var readAndDelete = []string{http.MethodHead, http.MethodGet, http.MethodDelete}

// A PATCH waits behind a DELETE that a hook will refuse. Neither those who asked before it nor
// those who asked after it, and are gone, may interrupt it, let alone delete the upload
// (tusd#667, tusd#1161).
func TestAbandonedWaitersLeaveThePatchAlone(t *testing.T) {
	for _, another := range []bool{false, true} {
		t.Run(map[bool]string{false: "one server", true: "two servers"}[another], func(t *testing.T) {
			hook := &busyHook{entered: make(chan struct{}), goOn: make(chan struct{}), reply: hookReply{RejectTermination: true}}
			a := startServer(t, t.TempDir(), farOff, hooked(t, "pre-terminate", hook.handle))
			b := a
			if another {
				b = startServer(t, a.dir, farOff)
			}
			u := create(t, a.url, content(1, 256<<10))
			holder := wait(t, a, http.MethodDelete, u)
			<-hook.entered
			abandon(t, b, u, another)

			next := stall(t, a.url, u, 0, 100<<10)
			a.said(t, `event="still waiting for a lock of this process"`, requested(http.MethodPatch, u))
			if another {
				abandon(t, b, u, another)
			}
			close(hook.goOn)
			<-holder.ended
			u.awaitSize(t, a.dir, 100<<10)
			awaitNoFile(t, u.file(a.dir)+".stop")
			require.NoError(t, next.send(u.data[100<<10:200<<10]))
			u.awaitSize(t, a.dir, 200<<10)
			require.NoError(t, next.send(u.data[200<<10:]))
			done, err := next.answer()
			require.NoError(t, err)
			require.Equal(t, http.StatusNoContent, done.status, "%v", done)
			u.requireComplete(t, a.dir)
			requireClean(t, a.dir, u)
		})
	}
}

// A PATCH is in its pre-finish hook. Who asked for the upload meanwhile and is gone does not
// cut the download that comes next.
func TestAbandonedWaitersLeaveTheDownloadAlone(t *testing.T) {
	for _, another := range []bool{false, true} {
		t.Run(map[bool]string{false: "one server", true: "two servers"}[another], func(t *testing.T) {
			hook := &busyHook{entered: make(chan struct{}), goOn: make(chan struct{})}
			a := startServer(t, t.TempDir(), farOff, hooked(t, "pre-finish", hook.handle))
			b := a
			if another {
				b = startServer(t, a.dir, farOff)
			}
			u := create(t, a.url, content(2, 12<<20))
			patched := make(chan answer, 1)
			go func() {
				a, _ := patch(context.Background(), a.url+u.id, 0, u.data)
				patched <- a
			}()
			<-hook.entered
			abandon(t, b, u, another)

			next := newPeer(t, http1).slowly(t, b.url, u, 0, len(u.data))
			close(hook.goOn)
			done := <-patched
			require.Equal(t, http.StatusNoContent, done.status, "%v", done)
			<-next.began
			awaitNoFile(t, u.file(a.dir)+".stop")
			close(next.hurry)
			require.NoError(t, next.wait(t))
			requireClean(t, a.dir, u)
		})
	}
}
