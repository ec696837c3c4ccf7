package e2e_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	vipServers = 3
	// vipLimit is for what takes seconds on a computer with nothing else to do.
	vipLimit = 2 * time.Minute
	// vipOutage is when the address counts as gone for good.
	vipOutage = 30 * time.Second
)

// vipGroup are control planes that give an address to each other.
type vipGroup struct {
	group
	ip string
}

// TestServersVirtualIP: the API stays reachable at one address, whatever fails on the control plane that has it.
func TestServersVirtualIP(t *testing.T) {
	need(t)
	before := takeInventory(t)
	v := &vipGroup{group: launchMachines(t, "vip", vipServers)}
	v.ip = v.freeAddress(t).Addr().String()
	var hosts [vipServers + 1][]string
	for i := 1; i <= vipServers; i++ {
		hosts[i] = v.inventory(t, i)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"refused", func(t *testing.T) { v.checkRefused(t, hosts[1]) }},
		{"init and join", v.checkMade},
		{"keepalived is killed", func(t *testing.T) { v.moves(t, v.killKeepalived) }},
		{"API server is killed", func(t *testing.T) { v.moves(t, v.killServer) }},
		{"power loss", func(t *testing.T) { v.moves(t, v.losePower) }},
		{"reset", func(t *testing.T) { v.checkReset(t, hosts[:]) }},
	} {
		if !t.Run(step.name, step.run) {
			v.describe(t)
			t.FailNow()
		}
	}
	slipway(t, "down", v.name)
	before.compare(t, takeInventory(t))
}

// freeAddress is the last one of the machines' network.
func (g group) freeAddress(t *testing.T) netip.Prefix {
	t.Helper()
	found := regexp.MustCompile(`inet (\S+)`).FindStringSubmatch(g.must(t, 1, "ip -4 -o address show dev eth0"))
	if found == nil {
		t.Fatal("machine 1 has no address")
	}
	p, err := netip.ParsePrefix(found[1])
	if err != nil || p.Bits() < 24 {
		t.Fatalf("%q: %v", found[1], err)
	}
	a := p.Masked().Addr().As4()
	a[3] += 1<<(32-p.Bits()) - 2
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
}

// checkRefused: an address that cannot work is found out before anything is written.
func (v *vipGroup) checkRefused(t *testing.T, host []string) {
	v.fails(t, 1, initCommand+" --virtual-ip "+v.address(t, 3), "preflight-virtual-ip")
	v.fails(t, 1, initCommand+" --virtual-ip "+v.address(t, 1), "preflight-virtual-ip")
	v.fails(t, 1, initCommand+" --virtual-ip 192.0.2.1", "preflight-virtual-ip")
	v.fails(t, 1, initCommand+" --virtual-ip "+v.ip+" --virtual-ip-interface eth9", "preflight-virtual-ip")
	v.fails(t, 1, initCommand+" --virtual-ip 10.96.0.7", "option-invalid")
	v.fails(t, 1, initCommand+" --virtual-ip nonsense", "option-invalid")
	v.sameHost(t, 1, host)
}

func (v *vipGroup) checkMade(t *testing.T) {
	out := v.must(t, 1, initCommand+" --virtual-ip "+v.ip)
	join := regexp.MustCompile(`(?m)^ +(slipway join .*--control-plane.*)$`).FindStringSubmatch(out)
	if join == nil || !strings.Contains(join[1], "join "+v.ip+":6443 ") {
		t.Fatalf("the command to join with: %s", out)
	}
	script := join[1] + " --bundle /media/bundle"
	v.together(t, map[int]string{2: script, 3: script})
	checkServers(t, v.group, vipServers)
	checkEtcd(t, v.group, vipServers)
	holder := v.holder(t, v.all()...)
	t.Logf("%s holds %s, after %d moves", v.machine(holder), v.ip, v.takeovers(t)-1)
	for i := 1; i <= vipServers; i++ {
		v.must(t, i, v.ask(v.ip)) // by the authority's certificate alone
		v.must(t, i, "slipway doctor")
		if out := v.must(t, i, "slipway plan"); out != "nothing would be changed\n" {
			t.Errorf("plan of %s: %s", v.machine(i), out)
		}
		who := "which another host holds"
		if i == holder {
			who = "which this host holds"
		}
		if out := v.must(t, i, "slipway status"); !strings.Contains(out, who) {
			t.Errorf("status of %s: %s", v.machine(i), out)
		}
	}
}

// ask succeeds if the API at an address is ready and proves to be the cluster's.
func (v *vipGroup) ask(address string) string {
	return "curl -sfo /dev/null -m 1 --cacert /etc/kubernetes/pki/ca.crt https://" + address + ":6443/readyz"
}

// holders are the machines that have the address.
func (v *vipGroup) holders(t *testing.T, among ...int) (out []int) {
	t.Helper()
	for _, i := range among {
		if strings.Contains(v.must(t, i, "ip -4 -o address"), " "+v.ip+"/") {
			out = append(out, i)
		}
	}
	return out
}

func (v *vipGroup) all() []int { return v.others(0) }

func (v *vipGroup) others(but int) (out []int) {
	for i := 1; i <= vipServers; i++ {
		if i != but {
			out = append(out, i)
		}
	}
	return out
}

// holder waits until exactly one of these machines has the address.
func (v *vipGroup) holder(t *testing.T, among ...int) int {
	t.Helper()
	var found []int
	eventually(t, fmt.Sprintf("one of %v has the address", among), vipLimit, func() error {
		if found = v.holders(t, among...); len(found) != 1 {
			return fmt.Errorf("%v have it", found)
		}
		return nil
	})
	return found[0]
}

// takeovers counts how often a control plane took the address, on all together.
func (v *vipGroup) takeovers(t *testing.T) int {
	t.Helper()
	sum := 0
	for i := 1; i <= vipServers; i++ {
		out := v.must(t, i, "cat /var/log/pods/kube-system_keepalived-*/keepalived/*.log 2>/dev/null | grep -c 'Entering MASTER STATE' || true")
		n, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// moves has another machine ask for the API at the address all the time, while what holds it fails and comes back.
func (v *vipGroup) moves(t *testing.T, fault func(t *testing.T, holder int) (mend func())) {
	holder := v.holder(t, v.all()...)
	asker := v.others(holder)[0]
	v.startAsking(t, asker)
	v.goesOn(t, asker)
	taken := v.takeovers(t)
	mend := fault(t, holder)
	v.holder(t, v.others(holder)...)
	v.goesOn(t, asker)
	mend()
	eventually(t, "the API server of "+v.machine(holder)+" is ready", vipLimit, func() error {
		if r := v.on(t, holder, v.ask(v.address(t, holder))); r.code != 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	checkServers(t, v.group, vipServers)
	now := v.holder(t, v.all()...) // one that was away has no part of it left
	v.goesOn(t, asker)
	gap := v.endAsking(t, asker)
	t.Logf("from %s to %s: %s was silent for %.1f s at most, taken %d times", v.machine(holder), v.machine(now), v.ip, gap.Seconds(), v.takeovers(t)-taken)
	if gap > vipOutage {
		t.Errorf("the address was silent for %v", gap)
	}
	if now == holder {
		t.Errorf("the address is back on %s", v.machine(now))
	}
}

// startAsking writes down when the API answered at the address, about ten times a second.
func (v *vipGroup) startAsking(t *testing.T, i int) {
	t.Helper()
	v.must(t, i, "systemd-run -q --unit asking -p StandardOutput=file:/run/asking sh -c 'while :; do "+v.ask(v.ip)+" && date +%s%N; sleep 0.1; done'")
}

// goesOn waits until it has answered some more times.
func (v *vipGroup) goesOn(t *testing.T, i int) {
	t.Helper()
	const enough = 20
	before := len(v.answers(t, i))
	eventually(t, "the API answers at "+v.ip, vipLimit, func() error {
		if now := len(v.answers(t, i)); now < before+enough {
			return fmt.Errorf("%d times, %d before", now, before)
		}
		return nil
	})
}

func (v *vipGroup) answers(t *testing.T, i int) []string {
	t.Helper()
	return strings.Fields(v.must(t, i, "cat /run/asking"))
}

// endAsking gives the longest time between two answers.
func (v *vipGroup) endAsking(t *testing.T, i int) (gap time.Duration) {
	t.Helper()
	v.must(t, i, "systemctl stop asking")
	var last int64
	for _, text := range v.answers(t, i) {
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if last > 0 {
			gap = max(gap, time.Duration(at-last))
		}
		last = at
	}
	v.must(t, i, "rm /run/asking")
	return gap
}

// killKeepalived leaves the address on the link, where nobody answers for it any more: the kubelet starts it again.
func (v *vipGroup) killKeepalived(t *testing.T, holder int) func() {
	v.must(t, holder, "systemctl stop kubelet && pkill -9 keepalived")
	return func() { v.must(t, holder, "systemctl start kubelet") }
}

// killServer has no kubelet that would start it again at once.
func (v *vipGroup) killServer(t *testing.T, holder int) func() {
	v.must(t, holder, "systemctl stop kubelet && pkill -9 -x kube-apiserver")
	return func() { v.must(t, holder, "systemctl start kubelet") }
}

func (v *vipGroup) losePower(t *testing.T, holder int) func() {
	v.plug(t, holder, "down") // the kernel would close its connections in good order
	v.kill(t, holder)
	return func() { v.startAgain(t) }
}

// checkReset: the address goes to another control plane at once, and nothing of it is left on those that were reset. The last
// one has nobody to give it to.
func (v *vipGroup) checkReset(t *testing.T, hosts [][]string) {
	first := v.holder(t, v.all()...)
	asker := v.others(first)[0]
	v.startAsking(t, asker)
	v.goesOn(t, asker)
	v.must(t, first, "slipway reset")
	v.holder(t, v.others(first)...)
	v.goesOn(t, asker)
	t.Logf("%s was silent for %.1f s at most", v.ip, v.endAsking(t, asker).Seconds())
	const root = " - overlay slipway " // of a machine that was started again
	v.sameHost(t, first, hosts[first], auditLog, root)
	for _, i := range v.others(first) {
		v.must(t, i, "slipway reset")
		v.sameHost(t, i, hosts[i], auditLog, root)
	}
}

// describe says what a failed test is looked into with.
func (v *vipGroup) describe(t *testing.T) {
	t.Helper()
	for i := 1; i <= vipServers; i++ {
		t.Log(v.machine(i), v.on(t, i, "ip -4 -o address; cat /etc/kubernetes/keepalived/keepalived.conf; "+
			"tail -n 30 /var/log/pods/kube-system_keepalived-*/keepalived/*.log").stdout)
	}
}
