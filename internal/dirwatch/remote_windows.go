package dirwatch

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/windows"
)

// remote asks for the remote protocol of the handle: a local volume has none and answers
// ERROR_INVALID_PARAMETER (GetFileInformationByHandleEx, FileRemoteProtocolInfo).
func remote(dir uintptr) bool {
	var info [256]byte
	err := windows.GetFileInformationByHandleEx(windows.Handle(dir), windows.FileRemoteProtocolInfo,
		(*byte)(unsafe.Pointer(&info)), uint32(len(info)))
	return !errors.Is(err, windows.ERROR_INVALID_PARAMETER)
}
