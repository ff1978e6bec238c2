package filelocker

import (
	"fmt"
	"os"
	"time"
)

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
		return time.Time{}, fmt.Errorf("touch %s: %w", d.pathOf(name), err)
	}
	info, err := f.stat()
	if err != nil {
		return time.Time{}, fmt.Errorf("stat %s: %w", d.pathOf(name), err)
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
