package preflight_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/internal/fault"
)

func TestTable(t *testing.T) {
	docs, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{preflight.Everything: true}
	for _, c := range preflight.Checks() {
		name := c.Name()
		if name == "" || seen[name] || c.Fault.ID != "preflight-"+name || c.What == "" || c.Fault.Next == "" || c.Run == nil {
			t.Errorf("check %q is not complete, or there twice", c.Fault.ID)
		}
		seen[name] = true
		if !strings.Contains(string(docs), "\n### `preflight-"+name+"`\n") {
			t.Errorf("docs/errors.md does not explain preflight-%s", name)
		}
	}
}

// badHost is one with too little memory, swap, a node name that cannot be, and cgroups of version 1.
func badHost(t *testing.T) preflight.Facts {
	return preflight.Facts{
		NodeName: "Bad_Name",
		Address:  netip.MustParseAddr("127.0.0.1"),
		Root: tree{
			"proc/meminfo":            "MemTotal: 1024 kB\n",
			"proc/swaps":              "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
			"proc/sys/net/bridge/":    "",
			"proc/self/mountinfo":     v1Mounts,
			"run/systemd/system/":     "",
			"etc/kubernetes/k.yaml":   "",
			"etc/cni/net.d/99-x.conf": "",
		}.make(t),
		ActiveUnits: units(),
		ClusterTime: func(context.Context) (time.Time, error) { return time.Time{}, nil },
	}
}

// units gives a systemd that runs those named.
func units(active ...string) func(context.Context, ...string) ([]string, error) {
	return func(_ context.Context, asked ...string) ([]string, error) {
		var out []string
		for _, a := range active {
			for _, name := range asked {
				if a == name {
					out = append(out, a)
				}
			}
		}
		return out, nil
	}
}

// problems of badHost, in the table's order, and its warnings.
var (
	badHostProblems = []string{
		"preflight-os", "preflight-memory", "preflight-swap", "preflight-hostname", "preflight-clock", "preflight-address",
	}
	badHostWarnings = []string{"cgroups", "leftovers"}
)

func identifiers(err error) []string {
	var out []string
	for _, f := range fault.All(err) {
		out = append(out, f.ID)
	}
	return out
}

func names(all []preflight.Finding) []string {
	var out []string
	for _, f := range all {
		out = append(out, f.Name)
	}
	return out
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	needRoot(t)
	warnings, err := preflight.Run(t.Context(), badHost(t), nil)
	equal(t, "problems", identifiers(err), badHostProblems)
	equal(t, "warnings", names(warnings), badHostWarnings)
	for _, f := range fault.All(err) {
		if f.Op == "" || f.Err == nil || f.Next == "" {
			t.Errorf("not complete: %+v", f)
		}
	}
	for _, w := range warnings {
		if w.Message == "" || w.Advice == "" || !w.Warning {
			t.Errorf("not complete: %+v", w)
		}
	}
}

func TestIgnored(t *testing.T) {
	needRoot(t)
	f := badHost(t)
	warnings, err := preflight.Run(t.Context(), f, []string{"swap", "clock", "mtu"})
	equal(t, "problems", identifiers(err), []string{
		"preflight-os", "preflight-memory", "preflight-hostname", "preflight-address",
	})
	equal(t, "warnings", names(warnings), []string{"cgroups", "swap", "clock", "leftovers"})

	warnings, err = preflight.Run(t.Context(), f, []string{"all"})
	if err != nil || len(warnings) != len(badHostProblems)+len(badHostWarnings) {
		t.Errorf("with all ignored: %v and %q", err, names(warnings))
	}
}

func TestUnknownIgnored(t *testing.T) {
	f := badHost(t)
	f.ClusterTime = func(context.Context) (time.Time, error) {
		t.Error("a check was run")
		return time.Now(), nil
	}
	warnings, err := preflight.Run(t.Context(), f, []string{"swop", "swap", "preflight-cpu"})
	equal(t, "problems", identifiers(err), []string{"preflight-unknown"})
	if warnings != nil || !strings.Contains(err.Error(), `"swop", "preflight-cpu"`) || !strings.Contains(fault.All(err)[0].Next, "etcd-disk") {
		t.Errorf("%v, %v", warnings, err)
	}
}

// TestEndedContext has a check that does not end by itself: nobody waits for it.
func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	defer close(hang)
	f := badHost(t)
	f.ClusterTime = func(context.Context) (time.Time, error) {
		cancel()
		<-hang
		return time.Now(), nil
	}
	warnings, err := preflight.Run(ctx, f, []string{"all"})
	if !errors.Is(err, context.Canceled) || warnings != nil {
		t.Errorf("%v, %v", warnings, err)
	}
}

// TestNotRoot looks from a thread that is not root's, and ends with its goroutine.
func TestNotRoot(t *testing.T) {
	needRoot(t)
	expect(t, look(t, "root", preflight.Facts{}))
	onThread(t, func() {
		setThreadUser(t, 65534)
		expect(t, look(t, "root", preflight.Facts{}), problem("not run by root"))
	})
}
