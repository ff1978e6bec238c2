package mutex

// Place is a set of mutexes apart from the machine's: files in a directory of their own. The
// abstract sockets of a system that has them are still shared by name.
type Place struct{ place }

func NewPlace(dir string, env Environment) *Place { return &Place{place{dir: dir, env: env}} }

func (p *Place) Acquire(spec Spec) (Releaser, error) { return p.acquire(spec) }

// Spare gives the place a second directory, as it is on systems without abstract sockets.
func (p *Place) Spare(dir string) { p.spare = dir }

// Path is the lock file of a name in the machine's directory.
func Path(name string) string { return machineDir + prefix + name }

// HoldOf is what a mutex has of the kernel's. It goes from one Releaser to the next.
func HoldOf(r Releaser) any { return r.(*mutex).hold }

// Passes is how often it does.
const Passes = passes

// Wanted says whether another process waits for the mutex.
func Wanted(r Releaser) bool { return r.(*mutex).hold.wanted() }
