package filelocker

// Report has the lockers over dir believe that the kernel has reported a change of name, or,
// with an empty name, that it has lost reports.
func Report(dir, name string) {
	process.mu.Lock()
	var open []*directory
	for key, d := range process.byPath {
		if key.path == dir {
			open = append(open, d)
		}
	}
	process.mu.Unlock()
	for _, d := range open {
		if name == "" {
			d.notify(nil, false)
		} else {
			d.notify([]byte(name), false)
		}
	}
}

// Settled says that all holds of this process are listened for, if there is anything left to hear of:
// nothing but a report, or a poll, has the locker look at them from now on.
func Settled() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	for _, d := range process.byPath {
		for _, u := range d.uploads {
			if u.hold != nil && !u.hold.looked && !u.hold.told() {
				return false
			}
		}
	}
	return len(process.young) == 0
}
