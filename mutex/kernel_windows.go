package mutex

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// machineDir is the namespace of kernel objects that all sessions share.
const (
	machineDir = `Global\`
	spareDir   = ""
	prefix     = "juju-mutex-"
)

const (
	// access is what taking and giving back needs.
	access = windows.SYNCHRONIZE | windows.MUTEX_MODIFY_STATE
	// everybody has it: the default is for the user who made the mutex.
	everybody = "D:(A;;0x00100001;;;WD)"
)

// hold is a mutex that is held, by a goroutine that has a thread to itself: a kernel mutex
// belongs to the thread that took it.
type hold struct {
	quit     chan struct{}
	released chan struct{}
	passed   int // how often it was passed on
}

// try takes the mutex if it is free, and returns errBusy if not.
func (p *place) try(path, _ string) (*hold, error) {
	h := &hold{quit: make(chan struct{}), released: make(chan struct{})}
	taken := make(chan error)
	go h.own(path, taken)
	if err := <-taken; err != nil {
		<-h.released
		return nil, err
	}
	return h, nil
}

func (h *hold) release() error {
	close(h.quit)
	<-h.released
	return nil
}

// wanted says whether another process is known to wait. The system does not tell.
func (h *hold) wanted() bool { return false }

// current says whether the mutex is still the one of its name, which no one can take away.
func (h *hold) current(string) bool { return true }

// own takes the mutex, says how that went, and keeps it until it is told to quit.
func (h *hold) own(path string, taken chan<- error) {
	defer close(h.released)
	runtime.LockOSThread()
	handle, err := takeMutex(path)
	taken <- err
	if err != nil {
		runtime.UnlockOSThread()
		return
	}
	<-h.quit
	// If the mutex cannot be given back the thread ends with this goroutine, and the mutex
	// is free as an abandoned one.
	if windows.ReleaseMutex(handle) == nil {
		runtime.UnlockOSThread()
	}
	_ = windows.CloseHandle(handle)
}

func takeMutex(path string) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	sd, err := windows.SecurityDescriptorFromString(everybody)
	if err != nil {
		return 0, os.NewSyscallError("ConvertStringSecurityDescriptorToSecurityDescriptor", err)
	}
	attributes := windows.SecurityAttributes{SecurityDescriptor: sd}
	attributes.Length = uint32(unsafe.Sizeof(attributes))
	handle, err := windows.CreateMutexEx(&attributes, name, 0, access)
	if err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return 0, os.NewSyscallError("CreateMutexEx", err)
	}
	event, err := windows.WaitForSingleObject(handle, 0)
	switch event {
	case windows.WAIT_OBJECT_0, windows.WAIT_ABANDONED:
		return handle, nil
	case uint32(windows.WAIT_TIMEOUT):
		err = errBusy
	default:
		err = os.NewSyscallError("WaitForSingleObject", err)
	}
	_ = windows.CloseHandle(handle)
	return 0, err
}
