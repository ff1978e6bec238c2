package nfs_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// archive writes a cpio archive in the "newc" format, which the kernel unpacks into its first
// root file system (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w    io.Writer
	size int64
	ino  int
	err  error
}

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	a.size += int64(len(b))
}

func (a *archive) pad() { a.write(make([]byte, -a.size&3)) }

// add adds a file or, with its bit in mode, a directory.
func (a *archive) add(name string, mode fs.FileMode, content []byte) {
	kind := 0o100000
	if mode.IsDir() {
		kind = 0o040000
	}
	a.ino++
	a.entry(name, a.ino, kind|int(mode.Perm()), content)
}

func (a *archive) entry(name string, ino, mode int, content []byte) {
	head := []byte("070701")
	for _, field := range []int{ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0} {
		head = fmt.Appendf(head, "%08x", field)
	}
	a.write(append(append(head, name...), 0))
	a.pad()
	a.write(content)
	a.pad()
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, nil)
	return a.err
}

// modules are what a guest needs beyond what Debian's kernels have built in.
var modules = []string{"virtio_pci", "virtio_net", "nfsv4"}

// initramfs writes the whole root file system of a guest: program as its first process, and
// the modules of the kernel package that is unpacked at kernel, numbered in the order in which
// they have to be loaded.
func initramfs(w io.Writer, program string, kernel string) error {
	files, err := moduleFiles(kernel)
	if err != nil {
		return err
	}
	order, err := loadOrder(modules, func(name string) ([]string, error) {
		if files[name] == "" {
			return nil, nil // built in
		}
		return dependencies(files[name])
	})
	if err != nil {
		return err
	}
	a := &archive{w: w}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "export", "modules"} {
		a.add(dir, fs.ModeDir|0o755, nil)
	}
	// The kernel opens it for the first process before that can mount anything.
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	a.add("init", 0o755, content)
	for i, name := range order {
		if files[name] == "" {
			continue
		}
		if content, err = os.ReadFile(files[name]); err != nil {
			return err
		}
		a.add(fmt.Sprintf("modules/%02d-%s.ko", i, name), 0o644, content)
	}
	return a.close()
}

// moduleFiles finds the modules of an unpacked kernel package, by name.
func moduleFiles(kernel string) (map[string]string, error) {
	files := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(kernel, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err == nil && files["nfsv4"] == "" {
		err = fmt.Errorf("%s: no nfsv4.ko, or a compressed one", kernel)
	}
	return files, err
}

// dependencies reads from a module what has to be loaded before it. A package has no
// modules.dep, which depmod makes when it is installed.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s: not a kernel module", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return parseDepends(info), nil
}

func parseDepends(modinfo []byte) (names []string) {
	for field := range bytes.SplitSeq(modinfo, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			names = strings.Split(strings.ReplaceAll(list, "-", "_"), ",")
		}
	}
	return names
}

// loadOrder lists names and all that they need, what is needed first.
func loadOrder(names []string, needs func(name string) ([]string, error)) (order []string, err error) {
	for _, name := range names {
		if err = visit(name, needs, nil, &order); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func visit(name string, needs func(string) ([]string, error), above []string, order *[]string) error {
	if slices.Contains(*order, name) {
		return nil
	}
	if slices.Contains(above, name) {
		return fmt.Errorf("module %s needs itself: %s", name, strings.Join(above, ", "))
	}
	below, err := needs(name)
	if err != nil {
		return err
	}
	for _, b := range below {
		if err := visit(b, needs, append(above, name), order); err != nil {
			return err
		}
	}
	*order = append(*order, name)
	return nil
}
