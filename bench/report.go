//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// report is all that comes out of a run.
type report struct {
	Date     time.Time  `json:"date"`
	Quick    bool       `json:"quick"`
	Seconds  float64    `json:"seconds"`
	Machine  machine    `json:"machine"`
	Outcomes []*outcome `json:"measures"`
	Missing  []string   `json:"missing,omitempty"` // measures that failed
}

// write makes results.json, RESULTS.md and the plots in dir.
func (r *report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("results.json: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o666); err != nil {
		return err
	}
	plots, err := r.plot(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(r.markdown(plots)), 0o666)
}

func (r *report) find(measure string) (*outcome, bool) {
	for _, o := range r.Outcomes {
		if o.Measure == measure {
			return o, true
		}
	}
	return nil, false
}
