package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/internal/fault"
)

// TestDualStackProblems: what is wrong with the networks of pods and services is said at once, by the file and by flags.
func TestDualStackProblems(t *testing.T) {
	const pods, services = "10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112"
	for name, tt := range map[string]struct {
		pods, services string
		want           []string
	}{
		"two of IPv4": {"10.244.0.0/16,10.245.0.0/16", services, []string{"podCIDR \"10.244.0.0/16,10.245.0.0/16\": both are of one family"}},
		"two of IPv6": {pods, "fd00::/112,fd01::/112", []string{`serviceCIDR "fd00::/112,fd01::/112": both are of one family`}},
		"IPv6 first":  {"fd00:10:244::/56,10.244.0.0/16", services, []string{`podCIDR "fd00:10:244::/56,10.244.0.0/16": the IPv4 network must be the first`}},
		"three":       {pods + ",fd01::/56", services, []string{`podCIDR "` + pods + `,fd01::/56": it is more than two networks`}},
		"no network": {pods, "10.96.0.0/16,fd00:10:96::", []string{
			`serviceCIDR "10.96.0.0/16,fd00:10:96::": netip.ParsePrefix("fd00:10:96::"): no '/'`}},
		"not masked":    {"10.244.0.0/16,fd00:10:244::1/56", services, []string{`podCIDR "10.244.0.0/16,fd00:10:244::1/56": it is not two networks`}},
		"only pods":     {pods, "10.96.0.0/16", []string{`podCIDR fd00:10:244::/56: services have no IPv6 network`}},
		"only services": {"10.244.0.0/16", services, []string{`serviceCIDR fd00:10:96::/112: pods have no IPv6 network`}},
		"too many services": {pods, "10.96.0.0/16,fd00:10:96::/107", []string{
			`serviceCIDR fd00:10:96::/107: it must be an IPv6 network with between 108 and 124 bits`}},
		"few services":     {pods, "10.96.0.0/16,fd00:10:96::/125", []string{`serviceCIDR fd00:10:96::/125: it must be an IPv6 network with between`}},
		"too many pods":    {"10.244.0.0/16,fd00::/47", services, []string{`podCIDR fd00::/47: it must be an IPv6 network`}},
		"no block":         {"10.244.0.0/16,fd00:10:244::/123", services, []string{`podCIDR fd00:10:244::/123: it must be an IPv6 network`}},
		"a block for two":  {"10.244.0.0/16,fd00:10:244::/122", services, []string{`podCIDR fd00:10:244::/122: it has blocks of 64 addresses for 1 nodes, and these are 2`}},
		"link-local":       {"10.244.0.0/16,fe80::/56", services, []string{`podCIDR fe80::/56: it must be an IPv6 network`}},
		"IPv4 in IPv6":     {"10.244.0.0/16,::ffff:10.1.0.0/112", services, []string{`podCIDR ::ffff:10.1.0.0/112: it must be an IPv6 network`}},
		"they overlap":     {"10.244.0.0/16,fd00:10::/48", "10.96.0.0/16,fd00:10::/112", []string{`podCIDR fd00:10::/48: it overlaps nodes fd53:6c69::/32 or services`}},
		"pods among nodes": {"10.244.0.0/16,fd53:6c69:1::/56", services, []string{`podCIDR fd53:6c69:1::/56: it overlaps nodes`}},
		"services among":   {pods, "10.96.0.0/16,fd53:6c69::/112", []string{`serviceCIDR fd53:6c69::/112: it overlaps nodes`}},
		"both families, all": {"10.244.0.0/27,fd00::/123", "10.96.0.0/30,fd00:10:96::/64", []string{
			`podCIDR 10.244.0.0/27: it has 32 addresses`, `podCIDR fd00::/123: it must`, `serviceCIDR 10.96.0.0/30: it must`, `serviceCIDR fd00:10:96::/64: it must`}},
		"one unreadable, the other wrong": {"x,y", "10.96.0.0/16,fd00:10:96::/64", []string{`podCIDR "x,y": netip.ParsePrefix("x")`, `serviceCIDR fd00:10:96::/64: it must`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := configFile(t, config.LocalKind, fmt.Sprintf("podCIDR: %q\nserviceCIDR: %q\nworkers: 1\n", tt.pods, tt.services))
			_, _, err := run(t, "up", "--config", path)
			var got, want []string
			for _, f := range fault.All(err) {
				got = append(got, strings.ReplaceAll(f.Error(), path, "F"))
			}
			for _, w := range tt.want {
				field, says, _ := strings.Cut(w, ": ")
				line := map[bool]string{true: "3", false: "4"}[strings.HasPrefix(field, "podCIDR")]
				want = append(want, "use "+field+` of "F:`+line+`": `+says)
			}
			for _, w := range want {
				i := slices.IndexFunc(got, func(g string) bool { return strings.HasPrefix(g, w) })
				if i < 0 {
					t.Errorf("nothing says %s in\n%s", w, strings.Join(got, "\n"))
				}
			}
			if len(got) != len(want) {
				t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}
