package doctor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/internal/fault"
)

// Level says how bad a finding is.
type Level string

// The levels. A node works with a warning, for now.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

func (l Level) rank() int {
	switch l {
	case Problem:
		return 2
	case Warning:
		return 1
	case OK:
	}
	return 0
}

// Finding is one thing that a check has found.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`  // may have several lines, as of a log
	Next  string `json:"next,omitempty"` // what to do; none where all is well
}

func ok(format string, args ...any) Finding {
	return Finding{Level: OK, What: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Finding {
	return Finding{Level: Warning, What: fmt.Sprintf(format, args...)}
}

func problem(format string, args ...any) Finding {
	return Finding{Level: Problem, What: fmt.Sprintf(format, args...)}
}

func (f Finding) because(err error) Finding { return f.why(err.Error()) }

func (f Finding) why(text string) Finding {
	f.Why = redact(text)
	return f
}

// advise replaces the advice that the check gives for all it finds.
func (f Finding) advise(format string, args ...any) Finding {
	f.Next = fmt.Sprintf(format, args...)
	return f
}

// Check is one thing that is looked at.
type Check struct {
	Name   string
	What   string // must be so, in a few words
	Advice string // what to do next where a finding does not say it
	// Brief marks what belongs into a short summary of the node.
	Brief bool

	controlPlane bool // there is nothing to look at on a worker
	run          func(context.Context, *Host) []Finding
}

// Checks is the table, in the order in which findings are told.
func Checks() []Check {
	return []Check{
		{Name: "node", What: "what slipway began on this host is complete", run: completeness,
			Advice: "run the same command again, or take it back with `slipway reset`"},
		{Name: "units", What: "the services of a node run, and start with the host", run: units, Brief: true,
			Advice: "look at `systemctl status` of the unit"},
		{Name: "containerd", What: "the container runtime answers and can start pods", run: runtimeAnswers, Brief: true,
			Advice: "look at `journalctl -u containerd`"},
		{Name: "static-pods", What: "the containers of the control plane run", run: containersRun, controlPlane: true, Brief: true,
			Advice: "look at `journalctl -u kubelet`, which starts them"},
		{Name: "health", What: "the parts of the control plane say that they are well", run: health, controlPlane: true, Brief: true,
			Advice: "look at the log of that container below /var/log/pods"},
		{Name: "etcd", What: "etcd has a leader, all its members and room", run: etcdHealth, controlPlane: true,
			Advice: "look at the log of etcd below /var/log/pods, here and on the other control planes"},
		{Name: "api", What: "the kubelet reaches the API, which has this node as ready", run: api, Brief: true,
			Advice: "look at `journalctl -u kubelet`"},
		{Name: "pods", What: "the pods that the cluster has on each node are ready", run: pods, Brief: true,
			Advice: "look at it with `kubectl -n kube-system describe pod`, and at its log below /var/log/pods"},
		{Name: "virtual-ip", What: "the API answers at the cluster's virtual IP, if it has one", run: virtualIP, Brief: true,
			Advice: "look at the logs of keepalived below /var/log/pods, here and on the other control planes"},
		{Name: "certificates", What: "the certificates are good, and will be for a month", run: certificates, Brief: true,
			Advice: "renew it before it ends"},
		{Name: "kernel", What: "the kernel's settings are as a node needs them", run: kernel,
			Advice: "set it with `sysctl --system`, and look what else sets it in /etc/sysctl.d"},
		{Name: "disk", What: "there is room for containers, pods and etcd", run: disk,
			Advice: "free some space, or mount a larger disk there"},
		{Name: "memory", What: "there is memory left", run: memory,
			Advice: "look what takes it with `systemd-cgtop -m`, and give pods limits or this host more memory"},
		{Name: "cni", What: "pods get a network", run: cni,
			Advice: "look at the pods of the network on this node: `kubectl -n kube-system get pods -o wide`"},
	}
}

// Host is the host that is looked at. The zero value is this one.
type Host struct {
	// Root is put before the names of all files that are looked at, sockets too.
	Root string
	// Unit asks for a systemd unit, UnitLog for the last lines that it wrote; nil asks systemd.
	Unit    func(ctx context.Context, name string) (Unit, error)
	UnitLog func(ctx context.Context, name string) ([]string, error)

	node Node
}

func (h *Host) path(name string) string { return filepath.Join(cmp.Or(h.Root, "/"), name) }

func (h *Host) exists(name string) bool {
	_, err := os.Stat(h.path(name))
	return err == nil
}

// Result is what one check has found.
type Result struct {
	Name     string    `json:"name"`
	What     string    `json:"what"`
	Brief    bool      `json:"-"`
	Level    Level     `json:"level"` // of the worst finding
	Findings []Finding `json:"findings"`
}

// Report is what is known of a node.
type Report struct {
	Node   Node     `json:"node"`
	Level  Level    `json:"level"` // of the worst check
	Checks []Result `json:"checks"`
}

// Problems names the checks that have found one.
func (r *Report) Problems() []string {
	var out []string
	for _, c := range r.Checks {
		if c.Level == Problem {
			out = append(out, c.Name)
		}
	}
	return out
}

// All of it takes no longer than limit: nobody waits for a check that hangs, as on a disk that does not answer. Each
// question to somebody else ends well before, so that a check can say who did not answer.
const (
	limit    = 5 * time.Second
	askLimit = 3 * time.Second
)

// Look runs all checks at the same time. The fault not-a-node is for a host on which there is nothing to look at.
func Look(ctx context.Context, h Host) (*Report, error) {
	var err error
	if h.node, err = h.identify(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return h.runAll(ctx, Checks())
}

func (h *Host) runAll(ctx context.Context, checks []Check) (*Report, error) {
	r := &Report{Node: h.node, Level: OK}
	var answers []chan []Finding
	for _, c := range checks {
		if c.controlPlane && !h.node.ControlPlane {
			continue
		}
		answer := make(chan []Finding, 1) // nobody may be there to take it any more
		go func() { answer <- c.run(ctx, h) }()
		answers = append(answers, answer)
		r.Checks = append(r.Checks, Result{Name: c.Name, What: c.What, Brief: c.Brief})
	}
	advice := adviceOf(checks)
	for i := range r.Checks {
		c := &r.Checks[i]
		c.complete(wait(ctx, answers[i]), advice[c.Name])
		if c.Level.rank() > r.Level.rank() {
			r.Level = c.Level
		}
	}
	// What was interrupted has found what is not so.
	if err := ctx.Err(); err != nil && context.Cause(ctx) != context.DeadlineExceeded { //nolint:errorlint // only the own deadline
		return nil, fmt.Errorf("look at this host: %w", context.Cause(ctx))
	}
	return r, nil
}

func adviceOf(checks []Check) map[string]string {
	out := map[string]string{}
	for _, c := range checks {
		out[c.Name] = c.Advice
	}
	return out
}

func wait(ctx context.Context, answer <-chan []Finding) []Finding {
	select {
	case found := <-answer:
		return found
	case <-ctx.Done():
	}
	select {
	case found := <-answer: // it was there before the end
		return found
	default:
		return []Finding{problem("this could not be found out within %v: something on this host does not answer", limit)}
	}
}

func (r *Result) complete(found []Finding, advice string) {
	r.Level, r.Findings = OK, found
	for i, f := range found {
		if f.Level != OK {
			found[i].Next = cmp.Or(f.Next, advice)
		}
		if f.Level.rank() > r.Level.rank() {
			r.Level = f.Level
		}
	}
}

// CheckRoot gives the fault not-root to anybody else: keys, sockets and logs are root's.
func CheckRoot() error {
	if os.Geteuid() != 0 {
		return fault.New("not-root", "look at this host", fmt.Errorf("that needs root"), "run it as root, for example with sudo")
	}
	return nil
}

func (h *Host) stateFile(name string) string { return h.path(filepath.Join(node.StateDir, name)) }
