package filelocker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tus/tusd/v2/pkg/handler"
)

// A record is appended to a file by looking at its size and writing there, which only works
// while nobody else does the same.
const (
	recordName = "records"
	recordSize = 32
)

func recordOf(who string, n int) string {
	return fmt.Sprintf("%-*s", recordSize, fmt.Sprintf("%s-%d", who, n))
}

func appendRecord(dir, record string) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, recordName), os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for range 20 { // let somebody else come between, if anybody can
		runtime.Gosched()
	}
	_, err = f.WriteAt([]byte(record), size)
	return err
}

// recordUnderLock adds the n-th record of who.
func recordUnderLock(locker handler.Locker, dir, who string, n int) (err error) {
	lock, err := locker.NewLock("recorded")
	if err != nil {
		return err
	}
	if err := lock.Lock(context.Background(), func() {}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return appendRecord(dir, recordOf(who, n))
}

// record adds records and says so.
func (a *actor) record(dir string, till int) int {
	who := fmt.Sprint("process-", os.Getpid())
	for n := 0; till == 0 || n < till; n++ {
		if err := recordUnderLock(a.locker, dir, who, n); err != nil {
			fmt.Println("failed", err)
			return 1
		}
		fmt.Println(recordOf(who, n))
	}
	return 0
}

// Goroutines and processes that are killed at random share one lock: no record is lost or
// torn. A process that is killed may have written one that it could not tell of any more.
func TestExclusionAmongGoroutinesAndKilledProcesses(t *testing.T) {
	f := setUp(t)
	told := make(map[string]bool)
	const kills, goroutines, each = 24, 3, 100
	done := make(chan error, goroutines)
	for g := range goroutines {
		go func() {
			var err error
			for n := 0; n < each && err == nil; n++ {
				err = recordUnderLock(f.locker, f.dir, fmt.Sprint("goroutine-", g), n)
			}
			done <- err
		}()
	}
	children := []*child{f.start(recording(0)), f.start(recording(0)), f.start(recording(0))}
	for i := range kills {
		c := children[i%len(children)]
		for range 1 + i*7%13 {
			told[c.next()] = true
		}
		_ = c.cmd.Process.Kill()
		for event := range c.events {
			told[event] = true
		}
		children[i%len(children)] = f.start(recording(0))
	}
	for range goroutines {
		require.NoError(t, receive(f, done, "a goroutine still waits"))
	}
	for _, c := range children {
		_ = c.cmd.Process.Kill()
		for event := range c.events {
			told[event] = true
		}
	}
	for g := range goroutines {
		for n := range each {
			told[recordOf(fmt.Sprint("goroutine-", g), n)] = true
		}
	}
	checkRecords(f, told, kills+len(children))

	f.hold("recorded").unlock()
	f.mustHold(recordName)
}

// checkRecords requires that all records which were told are in the file, each once, and at
// most untold others.
func checkRecords(f *fixture, told map[string]bool, untold int) {
	f.Helper()
	content, err := os.ReadFile(f.path(recordName))
	require.NoError(f, err)
	require.Zero(f, len(content)%recordSize, "a torn record")
	found := make(map[string]bool)
	for record := range slices.Chunk(content, recordSize) {
		require.False(f, found[string(record)], "%s is there twice", record)
		found[string(record)] = true
	}
	for record := range told {
		require.True(f, found[record], "%s was overwritten by another holder", record)
	}
	require.LessOrEqual(f, len(found), len(told)+untold, "records that nobody told of")
	f.Logf("%d records", len(found))
}
