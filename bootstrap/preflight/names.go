package preflight

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// resolveLimit is short: a name that cannot be resolved is no reason to wait.
const resolveLimit = 3 * time.Second

func hostname(ctx context.Context, f Facts) []Finding {
	if wrong := validation.IsDNS1123Subdomain(f.NodeName); len(wrong) > 0 {
		return []Finding{problem("%q cannot be the name of a node: %s", f.NodeName, strings.Join(wrong, "; "))}
	}
	if data, err := os.ReadFile(f.path("/etc/hosts")); err == nil && inHosts(string(data), f.NodeName) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, f.NodeName); err != nil {
		return []Finding{warning("the node's name %q is not in /etc/hosts, and cannot be resolved: %v", f.NodeName, err).
			advise("put the line \"%s %s\" in /etc/hosts", f.Address, f.NodeName)}
	}
	return nil
}

func inHosts(text, name string) bool {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 1 && slices.Contains(fields[1:], name) {
			return true
		}
	}
	return false
}

// clockSkew is how far clocks may be apart. A certificate made now must be valid on the other hosts; those
// of Kubernetes begin 5 minutes in the past, tokens and leases leave less.
const clockSkew = time.Minute

func clock(ctx context.Context, f Facts) []Finding {
	if f.ClusterTime == nil {
		return nil
	}
	asked := time.Now()
	there, err := f.ClusterTime(ctx)
	answered := time.Now()
	if err != nil {
		return []Finding{warning("the cluster's clock cannot be read: %v", err).advise("look whether this host reaches the cluster's API server")}
	}
	// The cluster's clock was read at some time between the two.
	if there.Before(asked.Add(-clockSkew)) || there.After(answered.Add(clockSkew)) {
		return []Finding{problem("it is %s here and %s in the cluster", stamp(answered), stamp(there))}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
