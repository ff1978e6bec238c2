// Package nfs has nothing but tests: it runs the file locker on two machines that share one
// NFSv4 export. The machines are emulated by QEMU, and the server is nfs-ganesha on this one.
//
//	go test ./lockertest/filesystems/nfs -v -timeout 3h -args -nfs
//
// It needs root on an amd64 Debian system with the packages qemu-system-x86, nfs-ganesha and
// nfs-ganesha-vfs, and says so if one is missing. Without -nfs it only tests its own parts.
// TMPDIR must be on a file system with file handles, such as ext4. A guest needs 640 MB of
// memory. On an idle machine it boots in a few seconds and is about twenty times slower than a
// real one: the whole takes about half an hour.
//
// The guests run the kernel of Debian's linux-image-cloud-amd64, which is downloaded with
// apt-get and unpacked, not installed. Their only program is this test itself: as the first
// process, which mounts the export; as the agent, which runs processes on behalf of the host
// or the other guest; and as those processes. The suite of package lockertest runs in one
// guest, with its other processes in both.
//
// The server is set to a lease of 20 s. With a lease that is longer than the 30 s after which
// a heartbeat counts as lost, it is the lease that decides when a frozen machine loses its locks.
//
// nfs-ganesha 4.3, which Debian 12 has, can end with a segmentation fault
// (https://github.com/nfs-ganesha/nfs-ganesha/issues/904, mended in 5.0). Then the test fails, says so, and
// has to be run again.
//
// The flags, after -args, are
//
//	-nfs             start the server and the guests
//	-kernel dir      use the kernel that is unpacked here
//	-mount options   mount with these (default vers=4.2)
//	-cycles n        how often to count under the lock
//	-suite pattern   only these subtests of the suite, as in -run
//	-result file     where to write what was found, one row of the README's table of file
//	                 systems (default ../testdata/nfs.json)
package nfs
