// Package line lets the processes of one machine that wait for the same thing stand in line, so
// that a change wakes the first of them and not all. In the time that sixty-four processes need to
// see that a lock is not for them, one has taken it and given it back.
//
// A line says who may go and look first, and nothing about who has what. It is a hint: the first
// one can be slow, stopped, or somebody with other plans, so who waits for long should look for
// itself. It has no file and needs no cleaning up; a process that dies is out of it at once.
//
// Only processes of one user, in one network namespace, find each other's lines. There are lines on
// Linux; elsewhere [Join] returns [errors.ErrUnsupported].
package line

import "context"

// Place is a place in a line. Its methods are for one goroutine at a time.
type Place struct{ place }

// Join returns a place at the end of the line called name, which may have up to 80 bytes.
//
// Any error means that there is no such line to be had, and no place to leave.
func Join(name string) (*Place, error) {
	p, err := join(name)
	if err != nil {
		return nil, err
	}
	return &Place{p}, nil
}

// First says whether the place was the first in the line when Join or Wait returned.
func (p *Place) First() bool { return p.first() }

// Wait returns nil when the place is the first in the line, and ctx's error if that ends before.
// Then the place is still kept. A line of which the first one has died forms anew, in any order;
// if it cannot, each place counts as the first.
func (p *Place) Wait(ctx context.Context) error { return p.wait(ctx) }

// Leave gives up the place, and says whether somebody has become the first in its stead. It must
// be called once.
func (p *Place) Leave() (passed bool) { return p.leave() }
