package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"
)

// chaosClient uploads one thing after the other until the chaos is over, and then brings the
// last one to its end. Its two hands work on the same upload and know nothing of each other.
type chaosClient struct {
	hands   [2]hand
	seed    uint64
	uploads []*upload
	err     error
}

// hand sends requests, each to any of the servers.
type hand struct {
	fleet *fleet
	rng   *rand.Rand

	pieces, refused, stalls, dropped int
}

func newChaosClient(f *fleet, seed, number uint64) *chaosClient {
	c := &chaosClient{seed: seed + number<<32}
	for i := range c.hands {
		c.hands[i] = hand{fleet: f, rng: rand.New(rand.NewPCG(seed, 1+2*number+uint64(i)))}
	}
	return c
}

func (h *hand) String() string {
	return fmt.Sprintf("%d pieces stored, %d requests without success, %d stalled, %d dropped",
		h.pieces, h.refused, h.stalls, h.dropped)
}

// patience is how long the client waits for an answer before it asks another server. A
// stopped server's acceptance queue still takes the request.
const patience = 2 * time.Second

func (c *chaosClient) run(ctx, over context.Context) error {
	first := &c.hands[0]
	for over.Err() == nil {
		c.seed++
		u, err := first.create(ctx, content(c.seed, 64<<10+first.rng.IntN(192<<10)))
		if err != nil {
			return err
		}
		c.uploads = append(c.uploads, u)
		var group sync.WaitGroup
		var errs [len(c.hands)]error
		for i := range c.hands {
			group.Go(func() { errs[i] = c.hands[i].complete(ctx, u) })
		}
		group.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			return fmt.Errorf("upload %s: %w", u.id, err)
		}
		if first.rng.IntN(2) == 0 {
			if err := first.remove(ctx, u); err != nil {
				return fmt.Errorf("delete %s: %w", u.id, err)
			}
		}
	}
	return nil
}

// retry calls try until it says that it is done.
func (h *hand) retry(ctx context.Context, what string, try func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, *chaosFor+hang)
	defer cancel()
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, patience)
		done, err := try(attempt)
		cancel()
		if done || err != nil {
			return err
		}
		pace(ctx, h.rng, 20)
	}
	return fmt.Errorf("%s: %w", what, ctx.Err())
}

func (h *hand) create(ctx context.Context, data []byte) (u *upload, err error) {
	err = h.retry(ctx, "create", func(ctx context.Context) (bool, error) {
		u, err = tryCreate(ctx, h.fleet.endpoint(h.rng), data)
		return err == nil, nil
	})
	return u, err
}

// complete uploads what is missing, piece by piece.
func (h *hand) complete(ctx context.Context, u *upload) error {
	stored := 0
	var open []*stalled
	defer func() {
		for _, s := range open {
			s.abort()
		}
	}()
	return h.retry(ctx, "complete", func(ctx context.Context) (bool, error) {
		offset, err := h.whereToGoOn(ctx, u, stored)
		if err != nil || offset < 0 || offset == len(u.data) {
			return offset == len(u.data), err
		}
		stored = offset
		n := 1 + h.rng.IntN(min(32<<10, len(u.data)-offset))
		switch h.rng.IntN(10) {
		case 0, 1:
			h.stalls++
			if s, err := tryStall(h.fleet.endpoint(h.rng), u, offset, n); err == nil {
				open = append(open, s)
				pace(ctx, h.rng, 20)
			}
		case 2:
			h.dropped++
			if s, err := tryStall(h.fleet.endpoint(h.rng), u, offset, n); err == nil {
				s.abort()
			}
		default:
			stored, err = h.send(ctx, u, offset, n)
		}
		return false, err
	})
}

// whereToGoOn returns -1 if the server did not say.
func (h *hand) whereToGoOn(ctx context.Context, u *upload, stored int) (int, error) {
	a, err := head(ctx, h.fleet.endpoint(h.rng)+u.id)
	switch {
	case err != nil, a.status >= http.StatusInternalServerError:
		h.refused++
		return -1, nil
	case a.status != http.StatusOK:
		return -1, fmt.Errorf("HEAD: %v", a)
	case a.offset < stored:
		return -1, fmt.Errorf("HEAD: %d bytes of %d that were acknowledged", a.offset, stored)
	}
	onDisk, err := os.ReadFile(u.file(h.fleet.dir))
	if err != nil {
		return -1, err
	}
	if !bytes.HasPrefix(u.data, onDisk) {
		return -1, fmt.Errorf("the %d bytes on disk are not what was sent", len(onDisk))
	}
	return a.offset, nil
}

// send uploads one piece and returns how much is acknowledged then.
func (h *hand) send(ctx context.Context, u *upload, offset, n int) (int, error) {
	a, err := patch(ctx, h.fleet.endpoint(h.rng)+u.id, offset, u.data[offset:offset+n])
	if err != nil {
		h.refused++
		return offset, nil
	}
	switch a.code {
	case "":
		if a.status != http.StatusNoContent || a.offset != offset+n {
			return offset, fmt.Errorf("PATCH of %d bytes at %d: %v", n, offset, a)
		}
		h.pieces++
		return offset + n, nil
	case "ERR_LOCK_TIMEOUT", "ERR_UPLOAD_INTERRUPTED", "ERR_SERVER_SHUTDOWN", "ERR_MISMATCHED_OFFSET":
		h.refused++
		return offset, nil
	default:
		return offset, fmt.Errorf("PATCH: %v", a)
	}
}

// remove deletes the upload. An answer may be lost, and then it is gone at the next try.
func (h *hand) remove(ctx context.Context, u *upload) error {
	u.deleted = true
	return h.retry(ctx, "delete", func(ctx context.Context) (bool, error) {
		a, err := request(ctx, http.MethodDelete, h.fleet.endpoint(h.rng)+u.id, nil)
		switch {
		case err != nil:
			h.refused++
			return false, nil
		case a.status == http.StatusNoContent, a.status == http.StatusNotFound:
			return true, nil
		case a.code == "ERR_LOCK_TIMEOUT", a.code == "ERR_SERVER_SHUTDOWN", a.code == "ERR_UPLOAD_INTERRUPTED":
			h.refused++
			return false, nil
		default:
			return false, fmt.Errorf("DELETE: %v", a)
		}
	})
}
