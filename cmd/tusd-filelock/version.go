package main

import (
	"fmt"
	"runtime/debug"
)

// version says from what the program was built.
type version struct {
	name, commit, date string
}

// readVersion takes the version from what the Go tool recorded in the binary.
func readVersion() version {
	v := version{name: "n/a", commit: "n/a", date: "n/a"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.name = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.commit = s.Value
		case "vcs.time":
			v.date = s.Value
		}
	}
	return v
}

func (v version) String() string {
	return fmt.Sprintf("Version: %s\nCommit: %s\nDate: %s\n", v.name, v.commit, v.date)
}
