package e2e_test

import (
	"maps"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// network is what this computer has of clusters' networks, but for the indexes of links, and the hardware addresses of ends on the bridge.
func network(t *testing.T) inventory {
	all, out := takeInventory(t), inventory{}
	for _, kind := range []string{"links", "addresses", "routes", "rules", "nft"} {
		for _, line := range all[kind] {
			line = regexp.MustCompile(`^(sl[0-9a-f]{12}\S* +UP +)[0-9a-f:]{17}`).ReplaceAllString(line, "$1") // nobody is sent anything there
			out[kind] = append(out[kind], strings.TrimSpace(regexp.MustCompile(`@if\d+`).ReplaceAllString(line, "")))
		}
	}
	return out
}

func runHere(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// linkOf finds a link of this computer by how its name begins.
func linkOf(t *testing.T, prefix string) string {
	t.Helper()
	for _, line := range lines(t, "ip", "-o", "-br", "link") {
		if name, _, _ := strings.Cut(strings.Fields(line)[0], "@"); strings.HasPrefix(name, prefix) {
			return name
		}
	}
	t.Fatalf("there is no link %s*", prefix)
	return ""
}

// faultNetwork takes the network of a running cluster apart, in several ways; `up` and `start` put it back under the machines,
// which go on.
func faultNetwork(t *testing.T) {
	slipway(t, upFlt("--workers", "1")...)
	whole, machines := network(t), pids(t, "flt")
	for _, damage := range []struct {
		name, says string
		do         func()
		repair     []string
	}{
		{"bridge", "the bridge", func() { runHere(t, "ip", "link", "del", linkOf(t, "sl-flt-")) }, upFlt("--workers", "1")},
		{"bridge again", "the bridge", func() { runHere(t, "ip", "link", "del", linkOf(t, "sl-flt-")) }, []string{"start", "flt"}},
		{"address", "does not have the address", func() { runHere(t, "ip", "addr", "flush", "dev", linkOf(t, "sl-flt-")) }, []string{"start", "flt"}},
		{"cable", "the link", func() { runHere(t, "ip", "link", "del", cableOf(t, "flt-worker-1")) }, []string{"start", "flt"}},
		{"cable down", "is down", func() { runHere(t, "ip", "link", "set", cableOf(t, "flt-cp-1"), "down") }, []string{"start", "flt"}},
		{"rules", "nft table", func() { runHere(t, "nft", "delete", "table", "inet", "slipway-flt") }, upFlt("--workers", "1")},
		{"fences", "the fence", func() { runHere(t, "ip", "route", "flush", "type", "blackhole", "proto", "83") }, []string{"start", "flt"}},
		{"way to Services", "the route to", func() { runHere(t, "ip", "route", "flush", "type", "unicast", "proto", "83") }, []string{"start", "flt"}},
	} {
		damage.do()
		checkDoctorFinds(t, damage.says)
		begin := time.Now()
		r := slipway(t, damage.repair...)
		t.Logf("%s: repaired by %q after %.1f s", damage.name, damage.repair[0], time.Since(begin).Seconds())
		if !strings.Contains(r.stderr, "mend-network") {
			t.Errorf("%s: it does not say that it mended something: %v", damage.name, r)
		}
		whole.compare(t, network(t))
		checkAcross(t)
		if after := pids(t, "flt"); !maps.Equal(machines, after) {
			t.Errorf("%s: first processes: before %v, after %v", damage.name, machines, after)
		}
	}
	begin := time.Now()
	if r := slipway(t, "start", "flt"); !strings.Contains(r.stdout, "nothing was changed") {
		t.Errorf("again: %v", r)
	}
	t.Logf("again took %.1f s", time.Since(begin).Seconds())
}

// cableOf finds this computer's end of a machine's link by the index that the machine has of it.
func cableOf(t *testing.T, machine string) string {
	t.Helper()
	inside := runHere(t, "ip", "-netns", "slipway-flt."+machine, "-o", "link", "show", "eth0")
	peer := regexp.MustCompile(`eth0@if(\d+):`).FindStringSubmatch(inside)
	if peer == nil {
		t.Fatalf("eth0 of %s: %s", machine, inside)
	}
	for _, line := range lines(t, "ip", "-o", "link") {
		if f := strings.Fields(line); f[0] == peer[1]+":" {
			name, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
			return name
		}
	}
	t.Fatalf("there is no cable of %s", machine)
	return ""
}

// checkAcross asks a pod on the worker through the API server, whose connection to the kubelet is over the bridge; and a pod of
// the other node, by the pods' network on top of it.
func checkAcross(t *testing.T) {
	t.Helper()
	flt.kubectl(t, "get", "--raw", "/api/v1/nodes/flt-worker-1/proxy/healthz")
	flt.kubectl(t, "get", "--raw", "/api/v1/namespaces/kube-system/services/kube-dns:metrics/proxy/metrics")
}
