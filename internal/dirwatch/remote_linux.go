package dirwatch

import (
	"slices"

	"golang.org/x/sys/unix"
)

// local lists the file systems whose every change goes through this kernel (statfs(2),
// include/uapi/linux/magic.h). One that is missing here is treated as remote, which costs a
// ticker and nothing else; FUSE is missing because what is behind it is unknown.
var local = []uint32{
	unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
	unix.OVERLAYFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.RAMFS_MAGIC, unix.MSDOS_SUPER_MAGIC,
	unix.EXFAT_SUPER_MAGIC, unix.REISERFS_SUPER_MAGIC, unix.ECRYPTFS_SUPER_MAGIC, unix.NILFS_SUPER_MAGIC,
	0x2fc12fc1, // zfs
	0xca451a4e, // bcachefs
	0x7366746e, // ntfs3
	0x3153464a, // jfs
}

func remote(dir uintptr) bool {
	var fs unix.Statfs_t
	err := unix.Fstatfs(int(dir), &fs)
	return err != nil || !slices.Contains(local, uint32(fs.Type))
}
