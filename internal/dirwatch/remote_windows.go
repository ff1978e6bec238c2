package dirwatch

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// remote asks for the remote protocol of the handle: a local volume has none and answers
// ERROR_INVALID_PARAMETER (GetFileInformationByHandleEx, FileRemoteProtocolInfo).
func remote(dir *os.File) bool {
	conn, err := dir.SyscallConn()
	if err != nil {
		return true
	}
	var info [256]byte
	var ierr error
	err = conn.Control(func(fd uintptr) {
		ierr = windows.GetFileInformationByHandleEx(windows.Handle(fd), windows.FileRemoteProtocolInfo,
			(*byte)(unsafe.Pointer(&info)), uint32(len(info)))
	})
	return err != nil || !errors.Is(ierr, windows.ERROR_INVALID_PARAMETER)
}
