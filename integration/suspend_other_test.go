//go:build !unix

package integration_test

import "testing"

const canSuspend = false

func (p *process) suspend(t testing.TB) { t.Fatalf("%s cannot be suspended here", p.name) }
func (p *process) proceed(t testing.TB) { t.Fatalf("%s cannot be suspended here", p.name) }
