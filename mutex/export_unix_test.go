//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package mutex

// SpareFile is the second lock file of a name in a directory.
func SpareFile(dir, name string) string { return dir + sparePrefix + name }

// Birth is for how long a file is taken for one being made.
const Birth = birth

// Parts are what there is to give back.
var Parts = []string{"file", other}

const other = "what there is beside it"

// Break closes the descriptors of a part under a mutex, so that it cannot be given back.
func Break(r Releaser, part string) {
	h := r.(*mutex).hold
	switch {
	case part != other:
		_ = h.file.unlock()
	case h.spare != nil:
		_ = h.spare.unlock()
	default:
		_ = closeSocket(h.socket)
	}
}
