//go:build linux

package history_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// limit is for the check of one part, which takes a millisecond.
const limit = 20 * time.Second

// history is the part as porcupine wants it. The last one is that the part ends in the
// right state.
func (p part) history() []porcupine.Operation {
	clients := make(map[[2]int]int)
	var list []porcupine.Operation
	var last int64
	for _, op := range p.operations {
		last = max(last, op.ret)
		list = append(list, porcupine.Operation{
			ClientId: p.client(clients, op), Input: op.input, Call: op.call, Return: op.ret, Metadata: op.who(),
		})
	}
	end := operation{input{kind: finish, state: p.end}, -1, last + 1, last + 1}
	return append(list, porcupine.Operation{
		ClientId: p.client(clients, end), Input: end.input, Call: end.call, Return: end.ret, Metadata: "end of this part",
	})
}

// client numbers who is in the part, the workers of a process together.
func (p part) client(clients map[[2]int]int, op operation) int {
	key := [2]int{op.holder.process, op.worker}
	if op.worker < 0 {
		key = [2]int{-1, int(op.call)} // so that no two of them share a line of the picture
	}
	if _, known := clients[key]; !known {
		clients[key] = len(clients)
	}
	return clients[key]
}

func (op operation) who() string {
	if op.worker < 0 {
		return fmt.Sprintf("from %d to %d", op.call, op.ret)
	}
	return fmt.Sprintf("process %d, worker %d, from %d to %d", op.holder.process, op.worker, op.call, op.ret)
}

func (p part) check(strict bool) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(lockModel(p.start, strict), p.history(), limit)
}

// verdict is what became of a check.
type verdict struct {
	operations, parts, largest int
	late                       int // parts in which not the first holder was told of a loss
	bad                        []part
}

// check checks the history in parts.
func (h *history) check() verdict {
	v := verdict{operations: len(h.operations)}
	for _, p := range h.parts() {
		v.parts++
		v.largest = max(v.largest, len(p.operations))
		if p.check(true) == porcupine.Ok {
			continue
		}
		if p.check(false) == porcupine.Ok {
			v.late++
			continue
		}
		v.bad = append(v.bad, p)
	}
	return v
}

func (v *verdict) add(w verdict) {
	v.operations += w.operations
	v.parts += w.parts
	v.largest = max(v.largest, w.largest)
	v.late += w.late
	v.bad = append(v.bad, w.bad...)
}

// draw writes the part as a picture, and its operations beside it, and says where.
func (p part) draw(dir string, n int) (string, error) {
	base := filepath.Join(dir, fmt.Sprintf("%s-%d", strings.ReplaceAll(p.id, "/", "-"), n))
	model := lockModel(p.start, false)
	result, info := porcupine.CheckOperationsVerbose(model, p.history(), limit)
	var notes []porcupine.Annotation
	for _, note := range p.notes {
		tag := fmt.Sprintf("process %d", note.holder.process)
		if note.holder.process < 0 {
			tag = "files"
		}
		notes = append(notes, porcupine.Annotation{
			Tag: tag, Start: note.call, End: note.ret, Description: note.outcome, Details: note.who(),
		})
	}
	info.AddAnnotations(notes)
	if err := porcupine.VisualizePath(model, info, base+".html"); err != nil {
		return "", err
	}
	lines, err := p.lines()
	if err == nil {
		err = os.WriteFile(base+".jsonl", lines, 0o644)
	}
	return fmt.Sprintf("%s: %s", result, base+".html"), err
}

// lines is the part for other programs.
func (p part) lines() ([]byte, error) {
	var text []byte
	for _, op := range append(append([]operation(nil), p.operations...), p.notes...) {
		line, err := json.Marshal(map[string]any{
			"what": op.String(), "process": op.holder.process, "worker": op.worker, "call": op.call, "return": op.ret,
		})
		if err != nil {
			return nil, err
		}
		text = append(append(text, line...), '\n')
	}
	return text, nil
}
