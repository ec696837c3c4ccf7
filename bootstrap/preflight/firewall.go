package preflight

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// firewall finds what could keep nodes apart. Whether it does, its rules decide, which are not understood
// here: so these are warnings, and say what must be let in.
func firewall(ctx context.Context, f Facts) []Finding {
	var found []string
	if data, err := os.ReadFile(f.path("/etc/ufw/ufw.conf")); err == nil && slices.Contains(strings.Split(string(data), "\n"), "ENABLED=yes") {
		found = append(found, "ufw is on")
	}
	// That systemd cannot be reached, the check named os says.
	if active, _ := f.activeUnits(ctx, "firewalld.service"); len(active) > 0 {
		found = append(found, "firewalld runs")
	}
	if data, err := os.ReadFile(f.path("/proc/net/ip_tables_names")); err == nil && slices.Contains(strings.Fields(string(data)), "filter") {
		found = append(found, "there are rules of the older iptables, which only iptables-legacy can list")
	}
	closed, err := closedChains()
	if err != nil {
		found = append(found, fmt.Sprintf("the rules of nftables cannot be read (%v)", err))
	}
	found = append(found, closed...)
	var out []Finding
	for _, what := range found {
		out = append(out, warning("%s", what).advise("%s", openings(f)))
	}
	return out
}

func openings(f Facts) string {
	var in []string
	for _, p := range f.Ports {
		if p.open() {
			in = append(in, p.String())
		}
	}
	return fmt.Sprintf("let %s in from the other nodes, and let pass on what comes from or goes to %s and %s",
		strings.Join(in, ", "), f.PodCIDR, f.ServiceCIDR)
}

// closedChains describes the chains for what comes in and what is passed on that end in a refusal; iptables' own
// are among them where it is the one that uses nftables.
func closedChains() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, chain := range chains {
		direction := filtered(chain)
		if direction == "" {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return out, err
		}
		if *chain.Policy == nftables.ChainPolicyDrop || len(rules) > 0 && refusesAll(rules[len(rules)-1]) {
			out = append(out, fmt.Sprintf("the chain %q of the nftables table %q refuses what %s unless a rule lets it",
				chain.Name, chain.Table.Name, direction))
		}
	}
	return out, nil
}

// filtered says of a base chain what goes through it, "" where that is of no interest. The numbers of hooks mean something
// else in the other families.
func filtered(c *nftables.Chain) string {
	families := []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet}
	if c.Hooknum == nil || c.Policy == nil || !slices.Contains(families, c.Table.Family) {
		return ""
	}
	switch *c.Hooknum {
	case *nftables.ChainHookInput:
		return "comes in"
	case *nftables.ChainHookForward:
		return "is passed on"
	}
	return ""
}

// refusesAll tells whether a rule has no condition and refuses: how firewalls end a chain whose policy is to accept.
func refusesAll(r *nftables.Rule) bool {
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Reject:
			return true
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		case *expr.Target:
			return e.Name == "REJECT" // of iptables
		default:
			return false
		}
	}
	return false
}
