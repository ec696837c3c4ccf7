package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Undo takes back what the steps did on this host. Each step stops what it started once those that need it have been
// undone; then the journal puts back what was there before, newest change first; then the journal goes. What fails is
// reported, the journal stays, and Undo can be run again.
func Undo(ctx context.Context, host string, steps []Step, j *Journal, report Report) error {
	if err := Validate(steps); err != nil {
		return err
	}
	back := make([]Step, 0, len(steps)+1)
	var all []string
	for _, s := range slices.Backward(steps) {
		back = append(back, s.backward(steps))
		all = append(all, s.Name)
	}
	back = append(back, Step{
		Name: "restore", Needs: all,
		Check: func(context.Context) ([]string, error) {
			var change []string
			for _, e := range j.Entries() {
				change = append(change, "restore "+e.Name)
			}
			return change, nil
		},
		Do: func(ctx context.Context, _ func(string)) error { return j.restore(ctx) },
	})
	return Run(ctx, host, back, report)
}

// backward is the step that undoes s, after all that need it.
func (s Step) backward(all []Step) Step {
	out := Step{Name: s.Name}
	for _, other := range all {
		if slices.Contains(other.Needs, s.Name) {
			out.Needs = append(out.Needs, other.Name)
		}
	}
	out.Check = func(context.Context) ([]string, error) {
		if s.Undo == nil {
			return nil, nil
		}
		return []string{"undo " + s.Name}, nil
	}
	out.Do = func(ctx context.Context, _ func(string)) error { return s.Undo(ctx) }
	return out
}

// restore goes through the journal backwards. All is tried; what could not be put back is in the error.
func (j *Journal) restore(ctx context.Context) error {
	var errs []error
	units := false
	for _, e := range slices.Backward(j.Entries()) {
		units = units || e.Kind == KindUnit
		if err := e.restore(); err != nil {
			errs = append(errs, fmt.Errorf("put back %s %q: %w", e.Kind, e.Name, err))
		}
	}
	if units {
		errs = append(errs, restoreUnits(ctx, j.Entries()))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return j.Remove()
}

func (e Entry) restore() error {
	switch e.Kind {
	case KindFile:
		return e.restoreFile()
	case KindDir:
		return e.removeDir()
	case KindTree:
		return e.restoreTree()
	case KindNote:
		return nil
	case KindSysctl:
		return e.restoreSysctl()
	case KindUnit:
		return nil // once their files are back: restoreUnits
	}
	return fmt.Errorf("this program does not know what a %q is", e.Kind)
}

// restoreSysctl is content with a setting that has gone, with its kernel module.
func (e Entry) restoreSysctl() error {
	s := Sysctl{Name: e.Name}
	if v, err := s.read(); errors.Is(err, fs.ErrNotExist) || err == nil && v == e.Value {
		return nil
	}
	return os.WriteFile(s.path(), []byte(e.Value), 0o600)
}

func (e Entry) restoreFile() error {
	if e.Absent {
		if err := clearUnwritten(e.Name); err != nil {
			return err
		}
		if err := os.Remove(e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(e.Name), 0o755); err != nil { //nolint:gosec // system directories are world-readable
		return err
	}
	data, err := e.content()
	if err != nil {
		return err
	}
	if err := replaceFile(File{Path: e.Name, Data: data, Mode: e.Mode, Link: e.Link}); err != nil {
		return err
	}
	if err := os.Lchown(e.Name, e.UID, e.GID); err != nil || e.Link != "" || e.ModTime.IsZero() {
		return err
	}
	// After a change of owner: that clears the bits that a change of mode sets.
	return errors.Join(os.Chmod(e.Name, e.Mode), os.Chtimes(e.Name, e.ModTime, e.ModTime))
}

func (e Entry) content() ([]byte, error) {
	if e.Copy != "" {
		return os.ReadFile(e.Copy)
	}
	return e.Content, nil
}

// removeDir removes a directory that was not there before, unless somebody else has put something into it.
func (e Entry) removeDir() error {
	err := os.Remove(e.Name)
	if entries, _ := os.ReadDir(e.Name); len(entries) > 0 || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// restoreUnits makes units enabled and active as they were. One that was not there before has lost its file by now.
func restoreUnits(ctx context.Context, entries []Entry) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	if err := c.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reload systemd: %w", err)
	}
	for _, e := range entries {
		if e.Kind != KindUnit || e.Absent {
			continue
		}
		if err := restoreUnit(ctx, c, e); err != nil {
			return fmt.Errorf("put back unit %q: %w", e.Name, err)
		}
	}
	return nil
}

func restoreUnit(ctx context.Context, c *dbus.Conn, e Entry) error {
	p, err := c.GetUnitPropertiesContext(ctx, e.Name)
	if err != nil {
		return err
	}
	switch enabled := p["UnitFileState"] == "enabled"; {
	case e.Enabled && !enabled:
		_, _, err = c.EnableUnitFilesContext(ctx, []string{e.Name}, false, true)
	case !e.Enabled && enabled:
		_, err = c.DisableUnitFilesContext(ctx, []string{e.Name}, false)
	}
	if err != nil {
		return err
	}
	if e.Active {
		return runJob(ctx, c.RestartUnitContext, e.Name)
	}
	return runJob(ctx, c.StopUnitContext, e.Name)
}

// runJob starts, restarts or stops a unit, and returns when systemd has done that.
func runJob(ctx context.Context, start func(context.Context, string, string, chan<- string) (int, error), unit string) error {
	result := make(chan string, 1)
	if _, err := start(ctx, unit, "replace", result); err != nil {
		return err
	}
	select {
	case r := <-result:
		if r != "done" {
			return fmt.Errorf("systemd says %q; see `journalctl -u %s`", r, unit)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// PauseUnit stops a unit that stays enabled, and waits until it has ended.
func (h *Host) PauseUnit(ctx context.Context, name string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	if err := runJob(ctx, c.StopUnitContext, name); err != nil {
		return fmt.Errorf("stop unit %q: %w", name, err)
	}
	return nil
}

// StopUnit stops and disables a unit and waits until it has ended. One that is not there is fine, and one that runs although
// its file has gone, because an earlier try was killed, is stopped.
func (h *Host) StopUnit(ctx context.Context, name string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	if err := c.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reload systemd: %w", err)
	}
	p, err := c.GetUnitPropertiesContext(ctx, name)
	if err != nil {
		return fmt.Errorf("look at unit %q: %w", name, err)
	}
	if p["LoadState"] == "not-found" && p["ActiveState"] == "inactive" {
		return nil
	}
	if p["UnitFileState"] == "enabled" {
		if _, err := c.DisableUnitFilesContext(ctx, []string{name}, false); err != nil {
			return fmt.Errorf("disable unit %q: %w", name, err)
		}
	}
	if err := runJob(ctx, c.StopUnitContext, name); err != nil {
		return fmt.Errorf("stop unit %q: %w", name, err)
	}
	return nil
}
