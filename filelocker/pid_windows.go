package filelocker

import (
	"errors"
	"time"

	"golang.org/x/sys/windows"
)

// stillActive is the exit code of a process that has none yet (GetExitCodeProcess).
const stillActive = 259

func bootID() string       { return "" }
func pidNamespace() uint64 { return 0 }

func probePID(pid int) liveness {
	p, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	switch {
	case errors.Is(err, windows.ERROR_INVALID_PARAMETER):
		return dead
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return alive
	case err != nil:
		return unknown
	}
	defer windows.CloseHandle(p)
	var code uint32
	if windows.GetExitCodeProcess(p, &code) != nil {
		return unknown
	}
	if code != stillActive {
		return dead
	}
	return alive
}

func processStart(pid int) (time.Time, error) {
	p, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return time.Time{}, err
	}
	defer windows.CloseHandle(p)
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(p, &created, &exited, &kernel, &user); err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, created.Nanoseconds()).UTC(), nil
}
