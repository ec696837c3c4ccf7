package engine

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Unit is a systemd unit that should be enabled and run with the files of now.
type Unit struct {
	Name string
	// Files are what it reads at its start, the unit file and its program among them: it is restarted
	// when one of them is newer than the running process.
	Files []string
}

// Differs says what would change: "" if the unit runs with what is on disk.
func (u Unit) Differs(ctx context.Context) (string, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return "", fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	return u.differs(ctx, c)
}

func (u Unit) differs(ctx context.Context, c *dbus.Conn) (string, error) {
	p, err := c.GetUnitPropertiesContext(ctx, u.Name)
	if err != nil {
		return "", fmt.Errorf("look at unit %q: %w", u.Name, err)
	}
	if p["ActiveState"] != "active" {
		return "start " + u.Name, nil
	}
	if p["UnitFileState"] != "enabled" {
		return "enable " + u.Name, nil
	}
	started := enteredActive(p)
	for _, path := range u.Files {
		changed, err := changeTime(path)
		if err != nil {
			return "", fmt.Errorf("look at what unit %q runs with: %w", u.Name, err)
		}
		if changed.After(started) {
			return fmt.Sprintf("restart %s: %s is newer", u.Name, path), nil
		}
	}
	return "", nil
}

// Since is when the unit last became active; it is the zero of Unix time for one that never was.
func (u Unit) Since(ctx context.Context) (time.Time, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	p, err := c.GetUnitPropertiesContext(ctx, u.Name)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at unit %q: %w", u.Name, err)
	}
	return enteredActive(p), nil
}

func enteredActive(properties map[string]any) time.Time {
	since, _ := properties["ActiveEnterTimestamp"].(uint64) // microseconds; systemd gives each unit one
	return time.UnixMicro(int64(since))                     //nolint:gosec // a time of this age
}

// changeTime is when the file came to its place: a rename keeps the time of modification.
func changeTime(path string) (time.Time, error) {
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return st.ModTime(), nil
	}
	return time.Unix(sys.Ctim.Unix()), nil
}

// StartUnit enables a unit, and starts it, or restarts it if it runs with older files. It returns when the unit has said
// that it is up. KeepUnits comes before.
func (h *Host) StartUnit(ctx context.Context, u Unit) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	if err := enable(ctx, c, u.Name); err != nil {
		return err
	}
	if d, err := u.differs(ctx, c); err != nil || d == "" {
		return err
	}
	_ = c.ResetFailedUnitContext(ctx, u.Name) // one that has not failed refuses
	if err := runJob(ctx, c.RestartUnitContext, u.Name); err != nil {
		return fmt.Errorf("start unit %q: %w", u.Name, err)
	}
	return nil
}

// EnableUnit makes systemd read a unit and start it at boot, and does not start it now. KeepUnits comes before.
func (h *Host) EnableUnit(ctx context.Context, name string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	return enable(ctx, c, name)
}

func enable(ctx context.Context, c *dbus.Conn, name string) error {
	if err := c.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reload systemd: %w", err)
	}
	if _, _, err := c.EnableUnitFilesContext(ctx, []string{name}, false, true); err != nil {
		return fmt.Errorf("enable unit %q: %w", name, err)
	}
	return nil
}

// UnitExists tells whether systemd knows a unit.
func UnitExists(ctx context.Context, name string) (bool, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return false, fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	p, err := c.GetUnitPropertiesContext(ctx, name)
	if err != nil {
		return false, fmt.Errorf("look at unit %q: %w", name, err)
	}
	return p["LoadState"] != "not-found", nil
}

// KeptUnit tells whether KeepUnits has recorded a unit: one that it has not is somebody else's.
func (h *Host) KeptUnit(name string) bool {
	_, ok := h.journal.find(KindUnit, name)
	return ok
}

// KeepUnits records whether units are there, enabled and active. It must be called before their files are written.
func (h *Host) KeepUnits(ctx context.Context, step string, names ...string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer c.Close()
	var entries []Entry
	for _, name := range names {
		p, err := c.GetUnitPropertiesContext(ctx, name)
		if err != nil {
			return fmt.Errorf("look at unit %q: %w", name, err)
		}
		entries = append(entries, Entry{
			Step: step, Kind: KindUnit, Name: name, Absent: p["LoadState"] == "not-found",
			Enabled: p["UnitFileState"] == "enabled", Active: p["ActiveState"] == "active",
		})
	}
	return h.journal.Record(entries...)
}
