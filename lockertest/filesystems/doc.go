// Package filesystems has nothing but tests: it runs the suite of package lockertest over the
// file locker on one file system after another, each mounted for the time of its test, and
// tries what happens when one is read-only or full. What it finds is the table of file systems
// in README.md; a run fails if it finds something else.
//
// The tests need Linux, root and what makes the file systems: e2fsprogs, xfsprogs, btrfs-progs,
// exfatprogs, exfat-fuse, bindfs, sshfs, openssh-sftp-server, mount, and strace. What the
// machine or its kernel lacks is skipped, and named. The flags are
//
//	-full          run all subtests of the suite, not only those that depend on the file system
//	-readme file   write the table into this file, between its two comments
//
// With -readme, everything has to be there, and nothing may fail.
package filesystems
