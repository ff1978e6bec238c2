package childtest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tusd-filelock/tusd-filelock/internal/childtest"
	"github.com/tusd-filelock/tusd-filelock/internal/leaktest"
)

func TestInject(t *testing.T) {
	childtest.NeedStrace(t)
	leaktest.Check(t)
	c := childtest.Start(t, os.DevNull)
	tr := c.Inject("openat:error=EIO:when=1", childtest.At("newfstatat", 2, "error=ENOLCK"))
	c.Do("look", "open "+os.DevNull+": input/output error")
	c.Do("look", "<nil>")
	c.Do("look", "stat "+os.DevNull+": no locks available")
	tr.Detach()

	tr = c.Inject(childtest.At("openat", 1, childtest.Stopping))
	c.Tell("look")
	require.True(t, tr.Stopped("<nil>"))
	require.Empty(t, c.Events)
	c.Thaw()
	c.Expect("<nil>")
	c.Tell("look")
	require.False(t, tr.Stopped("<nil>"))
	tr.Detach()

	tr = c.Inject(childtest.At("openat", 1, childtest.Killing))
	c.Tell("look")
	require.True(t, tr.Stopped("<nil>"))
	require.False(t, tr.StoppedWithin(childtest.Patience), "it is gone")
}

func TestFreeze(t *testing.T) {
	c := childtest.Start(t, os.DevNull)
	c.Freeze()
	c.Tell("look")
	require.Empty(t, c.Events)
	c.Thaw()
	c.Expect("<nil>")
}

func TestAsAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	var err error
	childtest.AsAnother(t, func() { _, err = os.ReadFile(path) })
	require.ErrorIs(t, err, os.ErrPermission)
	_, err = os.ReadFile(path)
	require.NoError(t, err)
}
