package filesystems_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	tb := &table{head: []string{"file system", "exclusion", "crash", "publish", "result"}}
	*tb.row("ext4") = row{"ext4", "yes", "the kernel", "rename", "64 subtests", true}
	tb.row("xfs")
	nfs := filepath.Join(t.TempDir(), "nfs.json")
	tb.readJSON(t, nfs)
	require.Len(t, tb.rows, 2, "there is no such file")
	require.NoError(t, os.WriteFile(nfs, []byte(`{"filesystem": "NFSv4", "exclusion": "yes", "crash": "a|b", "publish": "link", "result": "works"}`), 0o600))
	tb.readJSON(t, nfs)

	const text = `| file system | exclusion | crash | publish | result |
|---|---|---|---|---|
| ext4 | yes | the kernel | rename | 64 subtests |
| xfs | – | – | – | – |
| NFSv4 | yes | a\|b | link | works |
`
	require.Equal(t, text, tb.String())
	require.False(t, tb.tried())
	require.NoError(t, tb.differs(text, true))

	tb.rows[0].Result = "13 subtests"
	require.NoError(t, tb.differs(text, false))
	require.ErrorContains(t, tb.differs(text, true), "ext4 is otherwise")
	tb.rows[0].Exclusion = "no"
	require.ErrorContains(t, tb.differs(text, false), "ext4 is otherwise")
	tb.rows[0].Exclusion = "yes"
	tb.rows[2].Result = "fails"
	require.ErrorContains(t, tb.differs(text, false), "NFSv4 is otherwise")
	require.ErrorContains(t, tb.differs("", false), "is otherwise")
}
