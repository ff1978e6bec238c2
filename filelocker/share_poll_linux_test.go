package filelocker_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/tusd-filelock/tusd-filelock/filelocker"
)

// What another process does on disk is done by hand here, so that its times are known.

// request is a <id>.stop of another process, made at the bubble's time.
type request struct {
	t    *testing.T
	file *os.File
}

func ask(t *testing.T, l filelocker.FileLocker) *request {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(l.Path, "x.stop"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	q := &request{t, file}
	q.touch()
	return q
}

// claim is the request of a writer.
func claim(t *testing.T, l filelocker.FileLocker) *request {
	t.Helper()
	q := ask(t, l)
	require.NoError(t, syscall.Flock(int(q.file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB))
	return q
}

func (q *request) touch() {
	q.t.Helper()
	require.NoError(q.t, os.Chtimes(q.file.Name(), time.Time{}, time.Now()))
}

// end closes the file, as death does.
func (q *request) end() {
	q.t.Helper()
	require.NoError(q.t, q.file.Close())
}

// readers takes n shared locks and counts the calls of their callbacks.
func readers(t *testing.T, l filelocker.FileLocker, n int) (locks []handler.Lock, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	for range n {
		lock := newLock(t, l, "x")
		require.NoError(t, lock.Lock(reading(), func() { asked.Add(1) }))
		locks = append(locks, lock)
	}
	return locks, asked
}

// readSoon starts to wait for a shared lock, which it unlocks again.
func readSoon(t *testing.T, l filelocker.FileLocker) <-chan time.Time {
	t.Helper()
	lock, got := newLock(t, l, "x"), make(chan time.Time, 1)
	go func() {
		if err := lock.Lock(reading(), nothing); err != nil {
			t.Error(err)
			return
		}
		got <- time.Now()
		if err := lock.Unlock(); err != nil {
			t.Error(err)
		}
	}()
	return got
}

func unlockAll(t *testing.T, locks []handler.Lock) {
	t.Helper()
	for _, lock := range locks {
		require.NoError(t, lock.Unlock())
	}
}

func mustBeEmpty(t *testing.T, l filelocker.FileLocker) {
	t.Helper()
	left, err := os.ReadDir(l.Path)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestReadersLookForClaims(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		locks, asked := readers(t, l, 3)
		time.Sleep(time.Minute)
		require.Zero(t, asked.Load())
		q := claim(t, l)
		time.Sleep(filelocker.DefaultHolderPollInterval + time.Millisecond)
		require.EqualValues(t, 3, asked.Load(), "each reader is asked")
		got := readSoon(t, l)
		time.Sleep(5 * time.Second)
		require.Empty(t, got, "a writer waits")

		q.end()
		time.Sleep(filelocker.DefaultHolderPollInterval + time.Millisecond)
		require.Len(t, got, 1, "no writer waits any more")
		require.EqualValues(t, 3, asked.Load(), "each reader is asked once")
		unlockAll(t, locks)
		mustBeEmpty(t, l)
	})
}

// A request that its writer has not touched for 10 seconds is that of a stopped process.
func TestClaimsExpire(t *testing.T) {
	for _, beside := range []int{0, 2} {
		bubble(t, func(t *testing.T, l filelocker.FileLocker) {
			locks, _ := readers(t, l, beside)
			q, start := claim(t, l), time.Now()
			time.Sleep(2 * filelocker.DefaultHolderPollInterval)
			got := readSoon(t, l)
			waited := (<-got).Sub(start)
			require.GreaterOrEqual(t, waited, 10*time.Second)
			require.LessOrEqual(t, waited, 10*time.Second+filelocker.DefaultAcquirerPollInterval)

			// It is alive again.
			q.touch()
			time.Sleep(2 * filelocker.DefaultHolderPollInterval)
			got = readSoon(t, l)
			time.Sleep(5 * time.Second)
			require.Empty(t, got)
			q.end()
			<-got
			unlockAll(t, locks)
			newWriter := newLock(t, l, "x")
			require.NoError(t, newWriter.Lock(context.Background(), nothing))
			require.NoError(t, newWriter.Unlock())
			mustBeEmpty(t, l)
		})
	}
}

// A request that nobody stands behind interrupts no reader, whenever it was left, and goes.
func TestLeftoverAsksNoReader(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		ask(t, l).end()
		locks, asked := readers(t, l, 2)
		time.Sleep(time.Minute)
		ask(t, l).end()
		got := readSoon(t, l)
		time.Sleep(time.Millisecond)
		require.Len(t, got, 1, "nobody waits")
		time.Sleep(time.Minute)
		require.Zero(t, asked.Load())
		_, err := os.Stat(filepath.Join(l.Path, "x.stop"))
		require.ErrorIs(t, err, os.ErrNotExist)
		unlockAll(t, locks)
		mustBeEmpty(t, l)
	})
}

// The stock locker makes its request anew with each of its looks, so that one that comes again
// is heard, and one that came once is not.
func TestRequestsThatComeAgainAskReaders(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		locks, asked := readers(t, l, 2)
		for range 3 { // long apart, they are of three processes that are no more
			ask(t, l).end()
			time.Sleep(time.Minute)
			require.Zero(t, asked.Load())
		}
		for range 3 {
			ask(t, l).end()
			time.Sleep(2 * time.Second) // the interval that stock has
		}
		require.EqualValues(t, 2, asked.Load())
		unlockAll(t, locks)
		mustBeEmpty(t, l)
	})
}

// An upload may be called x.stop. Whoever reads x is not asked to let go for it, and the upload
// stays.
func TestUploadNamedStopAsksNoReader(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "data": "data"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, l filelocker.FileLocker) {
				for file, text := range map[string]string{"x.stop": content, "x.stop.info": "{}"} {
					require.NoError(t, os.WriteFile(filepath.Join(l.Path, file), []byte(text), 0o600))
				}
				locks, asked := readers(t, l, 2)
				time.Sleep(10 * time.Second)
				require.Zero(t, asked.Load())
				unlockAll(t, locks)
				left, err := os.ReadFile(filepath.Join(l.Path, "x.stop"))
				require.NoError(t, err)
				require.Equal(t, content, string(left))
			})
		})
	}
}

// A reader that waits for a writer of another process asks it, and gets in within an interval.
func TestWaitingReaderLooksAgain(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		l.HolderPollInterval = time.Hour
		held := newLock(t, l, "y")
		require.NoError(t, held.Lock(context.Background(), nothing))
		stamp, err := os.ReadFile(filepath.Join(l.Path, "y.lock"))
		require.NoError(t, err)
		require.NoError(t, held.Unlock())
		writer, err := os.OpenFile(filepath.Join(l.Path, "x.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		require.NoError(t, err)
		_, err = writer.Write(stamp)
		require.NoError(t, err)
		require.NoError(t, syscall.Flock(int(writer.Fd()), syscall.LOCK_EX))

		got := readSoon(t, l)
		time.Sleep(time.Minute)
		require.Empty(t, got)
		_, err = os.Stat(filepath.Join(l.Path, "x.stop"))
		require.NoError(t, err, "the writer is asked")
		freed := time.Now()
		require.NoError(t, writer.Close())
		require.LessOrEqual(t, (<-got).Sub(freed), filelocker.DefaultAcquirerPollInterval)
		time.Sleep(time.Millisecond)
		mustBeEmpty(t, l)
	})
}

// A hold that is too young to be listened for may have lost its file.
func TestLostHoldIsNotJoined(t *testing.T) {
	bubble(t, func(t *testing.T, l filelocker.FileLocker) {
		locks, asked := readers(t, l, 1)
		require.NoError(t, os.Remove(filepath.Join(l.Path, "x.lock")))
		got := readSoon(t, l)
		synctest.Wait()
		require.Empty(t, got, "the lost lock was shared")
		require.EqualValues(t, 1, asked.Load())
		require.ErrorIs(t, locks[0].Unlock(), filelocker.ErrLockLost)
		<-got
		synctest.Wait()
		mustBeEmpty(t, l)
	})
}
