package filelocker

import (
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"strings"

	"github.com/tus/tusd/v2/pkg/handler"
)

// maxName is NAME_MAX of the common file systems, in bytes; maxID bounds what is looked at.
const (
	maxName = 255
	maxID   = 4096
)

// ErrInvalidID is matched by the errors of [FileLocker.NewLock]. It is a [handler.Error], so
// tusd answers such a request with 400 and the reason.
var ErrInvalidID = handler.NewError("ERR_INVALID_UPLOAD_ID", "invalid upload id", http.StatusBadRequest)

// place is where an upload's lock files are: in folder, relative to the locker's Path and
// empty for Path itself, under name and a suffix.
type place struct {
	folder string
	name   string
}

// placeOf refuses what could leave the directory or name two uploads alike. What it accepts
// is filepath.Join(Path, id + ".lock"), where the stock locker has it.
func placeOf(id string, flat bool) (place, error) {
	switch {
	case id == "":
		return place{}, invalidID(id, "is empty")
	case len(id) > maxID:
		return place{}, invalidID(id, fmt.Sprintf("has %d bytes, more than %d", len(id), maxID))
	case strings.ContainsRune(id, 0):
		return place{}, invalidID(id, "contains a NUL byte")
	case path.IsAbs(id) || filepath.IsAbs(id):
		return place{}, invalidID(id, "is an absolute path")
	}
	for part := range strings.SplitSeq(filepath.ToSlash(id), "/") {
		if part == ".." {
			return place{}, invalidID(id, "contains a .. element")
		}
	}
	if flat {
		return checked(id, place{name: flatNames.Replace(id)})
	}
	if !filepath.IsLocal(filepath.FromSlash(id)) {
		return place{}, invalidID(id, "is not a local path on this system")
	}
	folder, name := path.Split(filepath.ToSlash(id))
	if name == "" || name == "." {
		return place{}, invalidID(id, "has no file name at its end")
	}
	folder = path.Clean(folder)
	if folder == "." {
		folder = ""
	}
	return checked(id, place{folder, name})
}

func checked(id string, p place) (place, error) {
	if longest := len(p.name) + len(lockSuffix); longest > maxName {
		return place{}, invalidID(id, fmt.Sprintf("needs a file name of %d bytes, more than %d", longest, maxName))
	}
	return p, nil
}

// flatNames is injective: what it writes for a separator cannot come from anything else,
// because the escape character is escaped too.
var flatNames = strings.NewReplacer("%", "%25", "/", "%2F", `\`, "%5C", ":", "%3A")

// shown is how much of a refused ID its error repeats.
const shown = 64

func invalidID(id, why string) error {
	if len(id) > shown {
		id = id[:shown] + "…"
	}
	return handler.NewError(ErrInvalidID.ErrorCode, fmt.Sprintf("%s: %q %s", ErrInvalidID.Message, id, why), http.StatusBadRequest)
}
