//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/mutex"
)

const (
	nobody   = 65534
	somebody = 54321
)

func as(uid uint32) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		// Others may not enter the directory in which go test puts its programs.
		if _, err := os.Stat("/proc/self/exe"); err == nil {
			cmd.Path = "/proc/self/exe"
		}
	}
}

func needRoot(t *testing.T) { childtest.Need(t, "root, to be other users", os.Geteuid() == 0) }

func TestUsersShare(t *testing.T) {
	needRoot(t)
	a, b := start(t, as(nobody)), start(t, as(somebody))
	name := newName(t)
	a.hold(name)
	require.EqualValues(t, nobody, stat(t, mutex.Path(name)).Uid)
	b.Do("try "+name, mutex.ErrTimeout.Error())
	mustBeBusy(t, name)
	b.Tell("acquire " + name)
	a.release(name)
	b.Expect("held")
	a.Do("try "+name, mutex.ErrTimeout.Error())
	b.release(name)
	r := mustAcquire(t, wallSpec(name))
	a.Do("try "+name, mutex.ErrTimeout.Error())
	b.Do("try "+name, mutex.ErrTimeout.Error())
	r.Release()
	require.EqualValues(t, nobody, stat(t, mutex.Path(name)).Uid, "the file is still its maker's")
	mustCount(t, name, "never", start(t), start(t))

	mine := newName(t)
	mustBeFree(t, mine)
	a.Do("try "+mine, "free")
	require.Zero(t, stat(t, mutex.Path(mine)).Uid)
}

// A file that may not be opened, and changed just now, may be one that is being made.
func TestFileBeingMade(t *testing.T) {
	needRoot(t)
	name := newName(t)
	path := mutex.Path(name)
	c := start(t, as(nobody))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for {
		require.NoError(t, os.Chmod(path, 0o600)) // which counts as a change
		changed := time.Now()
		c.Tell("try " + name)
		answer := c.Next()
		if time.Since(changed) < mutex.Birth/2 { // else this machine is too slow to tell
			require.Equal(t, mutex.ErrTimeout.Error(), answer)
			break
		}
	}
	require.NoError(t, os.Chmod(path, 0o444))
	c.Do("try "+name, "free")
}

// A private file of somebody else cannot be locked, and the error says which.
func TestPrivateFileOfAnotherUser(t *testing.T) {
	needRoot(t)
	name := newName(t)
	path := mutex.Path(name)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	c := start(t, as(nobody))
	c.Tell("acquire " + name) // it may be one that is being made, at first
	c.Expect("open " + path + ": permission denied")
	mustBeFree(t, name) // its owner makes it what it should be
	c.Do("try "+name, "free")

	theirs := newName(t)
	require.NoError(t, os.WriteFile(mutex.Path(theirs), nil, 0o600))
	require.NoError(t, os.Chown(mutex.Path(theirs), nobody, nobody))
	mustBeFree(t, theirs) // root may, and leaves it to its owner
	require.EqualValues(t, syscall.S_IFREG|0o600, stat(t, mutex.Path(theirs)).Mode)
}

func TestSudo(t *testing.T) {
	needRoot(t)
	for what, test := range map[string]struct {
		env      environment
		uid, gid uint32
	}{
		"sudo":          {environment{"SUDO_UID": "54321", "SUDO_GID": "54322"}, 54321, 54322},
		"no sudo":       {environment{}, 0, 0},
		"only a user":   {environment{"SUDO_UID": "54321"}, 0, 0},
		"not a number":  {environment{"SUDO_UID": "54321", "SUDO_GID": "x"}, 0, 0},
		"negative":      {environment{"SUDO_UID": "-1", "SUDO_GID": "-1"}, 0, 0},
		"no change":     {environment{"SUDO_UID": strconv.FormatUint(1<<32-1, 10), "SUDO_GID": "1"}, 0, 0},
		"empty":         {environment{"SUDO_UID": "", "SUDO_GID": ""}, 0, 0},
		"root's sudo":   {environment{"SUDO_UID": "0", "SUDO_GID": "0"}, 0, 0},
		"only a spaced": {environment{"SUDO_UID": " 1", "SUDO_GID": "1"}, 0, 0},
	} {
		t.Run(what, func(t *testing.T) {
			p, dir := place(t, test.env)
			name, old := newName(t), newName(t)
			path := filepath.Join(dir, "juju-"+name)
			for range 2 {
				r, err := p.Acquire(wallSpec(name))
				require.NoError(t, err)
				r.Release()
				st := stat(t, path)
				require.Equal(t, []uint32{test.uid, test.gid}, []uint32{st.Uid, st.Gid})
				require.EqualValues(t, syscall.S_IFREG|0o444, st.Mode)
			}

			// What was found, and not made, is left alone.
			path = filepath.Join(dir, "juju-"+old)
			require.NoError(t, os.WriteFile(path, nil, 0o644))
			require.NoError(t, os.Chown(path, 7, 7))
			r, err := p.Acquire(wallSpec(old))
			require.NoError(t, err)
			r.Release()
			require.EqualValues(t, 7, stat(t, path).Uid)
		})
	}
	t.Run("the process's environment", func(t *testing.T) {
		name := newName(t)
		c := start(t, withEnv("SUDO_UID=54321", "SUDO_GID=54322", "SUDO_COMMAND=x"))
		c.Do("umask 077", "ok")
		c.hold(name)
		st := stat(t, mutex.Path(name))
		require.EqualValues(t, syscall.S_IFREG|0o444, st.Mode)
		require.Equal(t, []uint32{54321, 54322}, []uint32{st.Uid, st.Gid})
	})
	t.Run("not as root", func(t *testing.T) {
		name := newName(t)
		start(t, as(nobody), withEnv("SUDO_UID=54321", "SUDO_GID=54322")).hold(name)
		require.EqualValues(t, nobody, stat(t, mutex.Path(name)).Uid)
	})
}
