package flock_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/flock"
	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
)

// fileCalls are the system calls with which TryLock looks at files or changes them.
const fileCalls = "openat,flock,fstat,newfstatat,utimensat,fchmod,unlinkat,close"

// scene is the state of the lock file that a slow contender finds. The unlock function is
// that of its holder, if it has one.
var scenes = map[string]func(s store) flock.UnlockFunc{
	"missing": func(s store) flock.UnlockFunc { return nil },
	"fresh":   func(s store) flock.UnlockFunc { s.free(); return nil },
	"aging":   func(s store) flock.UnlockFunc { s.free(); s.setTime(aging()); return nil },
	"stale":   func(s store) flock.UnlockFunc { s.free(); s.age(); return nil },
	"frozen":  func(s store) flock.UnlockFunc { unlock := s.lock(bg()); s.age(); return unlock },
	"marked":  func(s store) flock.UnlockFunc { s.free(); s.mark(); return nil },
}

// aging is the time of a file that is not stale, but not so fresh that it is taken without
// a refresh.
func aging() time.Time { return time.Now().Add(-flock.HeartbeatInterval / 2) }

func (s store) mark() { require.NoError(s, os.Chmod(s.path(), 0o700)) }

// eachStep has a helper process take the lock once for each of its steps in each scene, and
// stops or kills it there.
func eachStep(t *testing.T, what string, do func(s store, slow child, holder flock.UnlockFunc)) {
	childtest.NeedStrace(t)
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) {
			s := setUp(t)
			steps, slow := 0, s.start()
			for call := range strings.SplitSeq(fileCalls, ",") {
				for n := 1; ; n++ {
					_ = os.Remove(s.path())
					holder := scene(s)
					tr := slow.Inject(childtest.At(call, n, what))
					slow.Tell("here")
					stopped := tr.Stopped("locked")
					if stopped {
						steps++
						do(s, slow, holder)
					}
					tr.Detach()
					if holder != nil {
						_ = holder()
					}
					if what == childtest.Killing && stopped {
						slow.Kill()
						slow = s.start()
						continue
					}
					if stopped {
						slow.Expect("locked")
					}
					slow.giveUp()
					if !stopped {
						break
					}
				}
			}
			t.Log(steps, "steps")
			require.GreaterOrEqual(t, steps, 4)
		})
	}
}
