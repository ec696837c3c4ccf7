package doctor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/doctor"
)

func runningUnit() doctor.Unit {
	return doctor.Unit{Load: "loaded", Active: "active", Sub: "running", File: "enabled", Result: "success", Since: time.Now().Add(-time.Hour)}
}

func running(context.Context, string) (doctor.Unit, error) { return runningUnit(), nil }
func noLog(context.Context, string) ([]string, error)      { return nil, errors.New("no journal") }

func TestUnits(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	for name, tt := range map[string]struct {
		change func(*doctor.Unit)
		want   want
	}{
		"well":           {func(*doctor.Unit) {}, fine("kubelet.service is active and enabled")},
		"disabled":       {func(u *doctor.Unit) { u.File = "disabled" }, warned("disabled", "systemctl enable kubelet.service")},
		"stopped":        {func(u *doctor.Unit) { u.Active = "inactive" }, problem("does not run", "systemctl enable --now kubelet.service")},
		"failed":         {func(u *doctor.Unit) { u.Active, u.Result, u.ExitCode = "failed", "exit-code", 7 }, problem("failed", "exit code 7", "last words", "abcdef [secret]", "journalctl -u kubelet.service")},
		"not there":      {func(u *doctor.Unit) { u.Load, u.Active = "not-found", "inactive" }, problem("is not there", "slipway reset")},
		"masked":         {func(u *doctor.Unit) { u.Load, u.Active = "masked", "inactive" }, problem("systemctl unmask kubelet.service")},
		"restarting":     {func(u *doctor.Unit) { u.Active, u.Sub, u.Restarts = "activating", "auto-restart", 3 }, problem("auto-restart", "3 restarts")},
		"just restarted": {func(u *doctor.Unit) { u.Restarts, u.Since = 9, time.Now() }, problem("again and again", "9 restarts", "last words")},
		"once restarted": {func(u *doctor.Unit) { u.Restarts = 2 }, fine("2 restarts")},
	} {
		t.Run(name, func(t *testing.T) {
			h := r.host()
			h.Unit = func(_ context.Context, name string) (doctor.Unit, error) {
				u := runningUnit()
				if name == "kubelet.service" {
					tt.change(&u)
				}
				return u, nil
			}
			h.UnitLog = func(_ context.Context, name string) ([]string, error) {
				return []string{"last words of " + name, "abcdef.0123456789abcdef"}, nil
			}
			expect(t, examine(t, h, "units"), fine("containerd.service"), tt.want)
		})
	}
}

func TestUnitOfTheBalancer(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	expect(t, r.examine(t, "units"), fine("containerd"), fine("kubelet"))
	r.write(t, "/etc/systemd/system/slipway-balancer.service", "")
	expect(t, r.examine(t, "units"), fine("containerd"), fine("kubelet"), fine("slipway-balancer.service"))
}

func TestUnitWithoutLog(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	h := r.host()
	h.Unit = func(context.Context, string) (doctor.Unit, error) {
		return doctor.Unit{Load: "loaded", Active: "failed"}, nil
	}
	expect(t, examine(t, h, "units"), problem("no journal"), problem("no journal"))
}

func TestNoSystemd(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), worker(), true)
	h := r.host()
	h.Unit = func(context.Context, string) (doctor.Unit, error) { return doctor.Unit{}, errors.New("no bus") }
	expect(t, examine(t, h, "units"), problem("systemd does not answer", "no bus"))
}
