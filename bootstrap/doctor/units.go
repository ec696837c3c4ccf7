package doctor

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"slipway.dev/slipway/bootstrap"
)

// Unit is what systemd says of a service.
type Unit struct {
	Load     string // loaded, not-found, masked
	Active   string // active, activating, failed, inactive
	Sub      string // running, auto-restart
	File     string // enabled, disabled
	Result   string // of the last run: success, exit-code
	ExitCode int32  // of the last run
	Restarts uint32 // by systemd itself, since somebody last started it
	Since    time.Time
}

// balancerUnit is there on nodes that have a load balancer for the API.
const balancerUnit = "slipway-balancer.service"

// settled is for how long a service that was restarted must have run to be believed.
const settled = time.Minute

// logLines are quoted of a log.
const logLines = 5

func unitNames(h *Host) []string {
	names := []string{"containerd.service", "kubelet.service"}
	for _, dir := range []string{bootstrap.UnitDir, bootstrap.VendorUnitDir} {
		if h.exists(filepath.Join(dir, balancerUnit)) {
			return append(names, balancerUnit)
		}
	}
	return names
}

func units(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	ask := h.Unit
	if ask == nil {
		ask = askSystemd
	}
	var out []Finding
	for _, name := range unitNames(h) {
		u, err := ask(ctx, name)
		if err != nil {
			return append(out, problem("systemd does not answer").because(err).advise("look why with `systemctl status`"))
		}
		f := judgeUnit(name, u)
		if f.Level == Problem {
			f = f.why(strings.TrimSpace(f.Why + "\n" + h.unitLog(ctx, name)))
		}
		out = append(out, f)
	}
	return out
}

func judgeUnit(name string, u Unit) Finding {
	restarts := fmt.Sprintf("%d restarts by systemd", u.Restarts)
	switch {
	case u.Load == "not-found":
		return problem("%s is not there", name).advise("make this host a node again: `slipway reset`, then `slipway join`")
	case u.Load == "masked":
		return problem("%s is masked, so it cannot start", name).advise("run `systemctl unmask %[1]s`, then `systemctl enable --now %[1]s`", name)
	case u.Active == "inactive" && u.Result == "success":
		return problem("%s does not run", name).why("somebody stopped it, or nothing has started it").
			advise("run `systemctl enable --now %s`", name)
	case u.Active != "active":
		return problem("%s does not run: %s (%s)", name, u.Active, u.Sub).
			why(fmt.Sprintf("its last run ended with %s, exit code %d; %s", u.Result, u.ExitCode, restarts)).
			advise("mend what its log says: `journalctl -u %[1]s`; then `systemctl restart %[1]s`", name)
	case u.Restarts > 0 && time.Since(u.Since) < settled:
		return problem("%s fails again and again", name).
			why(fmt.Sprintf("%s, the last time %.0f s ago", restarts, time.Since(u.Since).Seconds())).
			advise("mend what its log says: `journalctl -u %s`", name)
	case u.File != "enabled":
		return warning("%s runs, but is %s: it will not start with this host", name, u.File).advise("run `systemctl enable %s`", name)
	case u.Restarts > 0:
		return ok("%s is active and enabled, %s, last at %s", name, restarts, u.Since.Format(time.DateTime))
	}
	return ok("%s is active and enabled", name)
}

func (h *Host) unitLog(ctx context.Context, name string) string {
	ask := h.UnitLog
	if ask == nil {
		ask = askJournal
	}
	lines, err := ask(ctx, name)
	if err != nil {
		return fmt.Sprintf("(its log cannot be read: %v)", err)
	}
	return strings.Join(lines, "\n")
}

func askJournal(ctx context.Context, name string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "journalctl", "-u", name, "-n", strconv.Itoa(logLines), "-o", "cat", "--no-pager").Output()
	if err != nil {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSpace(out)), "\n"), nil
}

func askSystemd(ctx context.Context, name string) (Unit, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return Unit{}, err
	}
	defer c.Close()
	p, err := c.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, err
	}
	text := func(key string) string {
		s, _ := p[key].(string)
		return s
	}
	u := Unit{
		Load: text("LoadState"), Active: text("ActiveState"), Sub: text("SubState"), File: text("UnitFileState"), Result: text("Result"),
	}
	u.Restarts, _ = p["NRestarts"].(uint32)
	u.ExitCode, _ = p["ExecMainStatus"].(int32)
	since, _ := p["ActiveEnterTimestamp"].(uint64) // microseconds
	u.Since = time.UnixMicro(int64(since))         //nolint:gosec // a time of this age
	return u, nil
}
