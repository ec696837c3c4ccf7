package preflight

import (
	"context"
	"os"
	"slices"
	"strings"

	"slipway.dev/slipway/bootstrap/cri"
)

func containerRuntime(ctx context.Context, f Facts) []Finding {
	if f.Resuming {
		return nil
	}
	// That systemd cannot be reached, the check named os says; the socket counts all the same.
	active, _ := f.activeUnits(ctx, cri.Unit, "docker.service", "crio.service")
	var out []Finding
	for _, unit := range active {
		if unit != cri.Unit {
			out = append(out, problem("%s runs here, a container runtime that a node does not use", unit).
				advise("stop and disable it (\"systemctl disable --now %s\"), or ignore this if it is to stay beside the node's own", unit))
		}
	}
	return append(out, containerdHere(ctx, f, slices.Contains(active, cri.Unit))...)
}

// containerdHere tells what is going to be done with a containerd that runs. One that others' containers need is not to lose its
// place without a word.
func containerdHere(ctx context.Context, f Facts, active bool) []Finding {
	look := f.Containerd
	if look == nil {
		look = func() (*cri.Found, error) { return cri.Look(ctx, f.path(cri.Socket)) }
	}
	found, err := look()
	why := ""
	if err == nil {
		why = strings.Join(found.Unfit, "; ")
	}
	switch {
	case err != nil && !active:
		return setAside(f) // none, or a socket that its daemon has left
	case err != nil:
		return []Finding{problem("%s runs here, and cannot be asked what it is: %v", cri.Unit, err)}
	case !active:
		return []Finding{problem("containerd %s runs here, and not as %s: the node's own could not run beside it", found.Version, cri.Unit).
			advise("stop it, or have systemd run it as %s", cri.Unit)}
	case why == "":
		return []Finding{warning("containerd %s runs here; the node uses it as it is", found.Version).
			advise("stop it and remove its package if the node is to have the one of the bundle")}
	case len(found.Running) == 0:
		return []Finding{warning("containerd %s runs here; it is set aside until a reset, because %s", found.Version, why).
			advise("change that if the node is to use it; nothing runs in it")}
	}
	return []Finding{problem("containerd %s runs here with containers in it (%s), and a node cannot use it: %s",
		found.Version, some(found.Running), why).
		advise("change that in its configuration and restart it, and the node will use it; or end these containers; " +
			"or ignore this: it is stopped until a reset, and what runs in it goes on without it")}
}

// setAside is for what is left of one that does not run. The check of the kernel may be at work in there.
func setAside(f Facts) []Finding {
	entries, _ := os.ReadDir(f.path(cri.StoreDir)) // none are there where it cannot be read
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), scratch) })
	if len(entries) == 0 {
		return nil
	}
	return []Finding{warning("%s is not empty; the node keeps its images and containers apart from what is there", cri.StoreDir).
		advise("remove what is in there unless somebody needs it")}
}

// some names a few of many.
func some(all []string) string {
	const few = 5
	if len(all) <= few {
		return strings.Join(all, ", ")
	}
	return strings.Join(all[:few], ", ") + ", ..."
}
