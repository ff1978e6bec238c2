package filelocker

import (
	"math"
	"os"
	"time"
)

// instant is a moment by the clock that nobody sets, in nanoseconds from a common start: a
// third of a time.Time, of which a hold has many. Zero is never.
type instant int64

var epoch = time.Now()

func monotonic() instant { return instant(time.Since(epoch)) }

func (i instant) since() time.Duration {
	if i == 0 {
		return math.MaxInt64
	}
	return monotonic().sub(i)
}

func (i instant) sub(before instant) time.Duration { return time.Duration(i - before) }

// now is the file system's own time. On this machine that is its clock; a file server is
// asked, by making a file there.
func (d *directory) now() (now time.Time, err error) {
	if !d.remote {
		return time.Now(), nil
	}
	name := d.clock()
	for range 10 { // another process may use and remove it at the same time
		now, err = d.timeOf(name)
		if !vanished(err) {
			break
		}
	}
	return now, againIfVanished(err)
}

func (d *directory) timeOf(name string) (time.Time, error) {
	f, err := d.open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return time.Time{}, err
	}
	defer f.close()
	defer d.remove(name)
	if err := f.touch(); err != nil {
		return time.Time{}, d.opError("touch", name, err)
	}
	info, err := f.stat()
	if err != nil {
		return time.Time{}, d.opError("stat", name, err)
	}
	return info.modified, nil
}

// clock is the name of the file that a file server is asked for its time with.
func (d *directory) clock() string {
	if d.isUpload(clockName) {
		return otherName(clockName)
	}
	return clockName
}

// sweepClock removes what a process left that was killed while it asked.
func (d *directory) sweepClock() {
	name := d.clock()
	if info, err := d.stat(name); err == nil && info.regular && info.size == 0 {
		_ = d.remove(name)
	}
}
