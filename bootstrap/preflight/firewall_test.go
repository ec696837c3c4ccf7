package preflight_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"slipway.dev/slipway/bootstrap/preflight"
)

// addChain makes a table with one chain in it, for as long as the test runs.
func addChain(t *testing.T, family nftables.TableFamily, hook *nftables.ChainHook, policy nftables.ChainPolicy, rules ...[]expr.Any) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "filter", Family: family})
	chain := c.AddChain(&nftables.Chain{
		Name: "mine", Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	for _, exprs := range rules {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
}

func TestFirewallRules(t *testing.T) {
	needRoot(t)
	const inet, accept, drop = nftables.TableFamilyINet, nftables.ChainPolicyAccept, nftables.ChainPolicyDrop
	in, forward, out := nftables.ChainHookInput, nftables.ChainHookForward, nftables.ChainHookOutput
	verdict := func(k expr.VerdictKind) *expr.Verdict { return &expr.Verdict{Kind: k} }
	condition := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{6}},
	}
	const comes, passed = `"mine" of the nftables table "filter" refuses what comes in`, `"mine" of the nftables table "filter" refuses what is passed on`
	for name, c := range map[string]struct {
		family nftables.TableFamily
		hook   *nftables.ChainHook
		policy nftables.ChainPolicy
		rules  [][]expr.Any
		want   []want
	}{
		"input drops":        {inet, in, drop, nil, []want{warned(comes)}},
		"forward drops":      {nftables.TableFamilyIPv4, forward, drop, nil, []want{warned(passed)}},
		"IPv6 drops":         {nftables.TableFamilyIPv6, in, drop, nil, []want{warned(comes)}},
		"output drops":       {inet, out, drop, nil, nil},
		"accepts":            {inet, in, accept, nil, nil},
		"drops in the end":   {inet, in, accept, [][]expr.Any{{verdict(expr.VerdictAccept)}, {&expr.Counter{}, verdict(expr.VerdictDrop)}}, []want{warned(comes)}},
		"rejects in the end": {inet, in, accept, [][]expr.Any{{&expr.Reject{}}}, []want{warned(comes)}},
		"accepts in the end": {inet, in, accept, [][]expr.Any{{&expr.Counter{}, verdict(expr.VerdictAccept)}}, nil},
		"drops some":         {inet, in, accept, [][]expr.Any{append(condition, verdict(expr.VerdictDrop))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			addChain(t, c.family, c.hook, c.policy, c.rules...)
			expect(t, look(t, "firewall", preflight.Facts{Root: t.TempDir(), ActiveUnits: units()}), c.want...)
		})
	}
}

func TestFirewallPrograms(t *testing.T) {
	needRoot(t)
	f := preflight.Facts{
		Root: tree{
			"etc/ufw/ufw.conf":         "# is it on?\nENABLED=yes\nLOGLEVEL=low\n",
			"proc/net/ip_tables_names": "nat\nfilter\n",
		}.make(t),
		ActiveUnits: units("firewalld.service"),
		PodCIDR:     netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"),
		Ports: preflight.Ports(true),
	}
	found := look(t, "firewall", f)
	expect(t, found, warned("ufw"), warned("firewalld"), warned("iptables-legacy"))
	for _, part := range []string{"6443/tcp", "10250/tcp", "4789/udp", "10.244.0.0/16", "10.96.0.0/12"} {
		if !strings.Contains(found[0].Advice, part) {
			t.Errorf("advice %q does not name %s", found[0].Advice, part)
		}
	}
	if strings.Contains(found[0].Advice, "10259") {
		t.Errorf("advice %q names a port that is on loopback only", found[0].Advice)
	}
	f.Root, f.ActiveUnits = tree{"etc/ufw/ufw.conf": "ENABLED=no\n", "proc/net/ip_tables_names": "nat\n"}.make(t), units()
	expect(t, look(t, "firewall", f))
}
