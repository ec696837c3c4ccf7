package localcluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Diagnosis is what is known of a cluster, or of this computer where it names none.
type Diagnosis struct {
	Cluster string          `json:"cluster,omitempty"`
	State   string          `json:"state,omitempty"`
	Level   doctor.Level    `json:"level"` // of the worst check
	Checks  []doctor.Result `json:"checks"`
	Nodes   []NodeDiagnosis `json:"nodes,omitempty"`
}

// NodeDiagnosis is what the doctor on a node says of it. It is there for nodes whose machines run.
type NodeDiagnosis struct {
	Name   string         `json:"name"`
	Report *doctor.Report `json:"report,omitempty"`
	Error  string         `json:"error,omitempty"` // why there is none
}

// Problems names the checks and the nodes that have found one.
func (d *Diagnosis) Problems() []string {
	var out []string
	for _, c := range d.Checks {
		if c.Level == doctor.Problem {
			out = append(out, c.Name)
		}
	}
	for _, n := range d.Nodes {
		if n.level() == doctor.Problem {
			out = append(out, n.Name)
		}
	}
	return out
}

func (n NodeDiagnosis) level() doctor.Level {
	if n.Report == nil {
		return doctor.Problem
	}
	return n.Report.Level
}

// finding has the advice only where something is not well.
func finding(level doctor.Level, what, why, next string) doctor.Finding {
	return doctor.Finding{Level: level, What: what, Why: why, Next: next}
}

// add notes what a check has found. One that has found nothing wrong says well.
func (d *Diagnosis) add(name, what, well string, found []doctor.Finding) {
	if len(found) == 0 {
		found = []doctor.Finding{{Level: doctor.OK, What: well}}
	}
	r := doctor.Result{Name: name, What: what, Level: doctor.OK, Findings: found}
	for _, f := range found {
		r.Level = worse(r.Level, f.Level)
	}
	d.Level = worse(cmp.Or(d.Level, doctor.OK), r.Level)
	d.Checks = append(d.Checks, r)
}

func worse(a, b doctor.Level) doctor.Level {
	for _, l := range []doctor.Level{doctor.Problem, doctor.Warning} {
		if a == l || b == l {
			return l
		}
	}
	return doctor.OK
}

// findings makes problems of errors; faults bring their advice.
func findings(err error, next string) []doctor.Finding {
	if err == nil {
		return nil
	}
	all := fault.All(err)
	if len(all) == 0 {
		return []doctor.Finding{finding(doctor.Problem, err.Error(), "", next)}
	}
	var out []doctor.Finding
	for _, f := range all {
		what, why := f.Op, ""
		if f.Host != "" {
			what = f.Host + ": " + what
		}
		if f.Err != nil {
			why = f.Err.Error()
		}
		out = append(out, finding(doctor.Problem, "not possible: "+what, why, cmp.Or(f.Next, next)))
	}
	return out
}

// ExamineComputer looks whether clusters can be launched on this computer, and for what former ones have left. It changes nothing.
func ExamineComputer(ctx context.Context, d Dirs) (*Diagnosis, error) {
	if err := local.CheckRoot(); err != nil {
		return nil, err
	}
	var out Diagnosis
	p := local.New(local.Config{StateDir: d.State, RunDir: d.Run})
	out.add("computer", "the kernel, cgroups and the state directory are as machines need them", "machines can be made here",
		findings(p.Check(ctx), ""))
	out.add("disk", "there is room for a cluster", "there is room below "+d.State, findings(checkSpace(d.State), ""))
	dir, err := bundleDir(d, Options{})
	if err == nil {
		_, err = openBundle(dir, Options{})
	}
	out.add("bundle", "the bundle of the default version is there; `slipway images verify` reads all of it", dir,
		findings(err, "build it with `slipway images build`"))
	_, err = p.FreeSubnet(ctx, poolPrefix(), subnetBits, defaultRanges()...)
	out.add("subnets", "there are addresses for one more cluster", "a subnet of "+subnetPool+" is free", findings(err, ""))
	out.add("records", "what is kept of clusters can be read", "all of it", unreadable(d))
	strays, err := p.Strays()
	out.add("leftovers", "nothing runs here that no record is of", "there is nothing", append(findings(err, ""), strayFindings(d, strays)...))
	return &out, nil
}

// defaultRanges are those inside a cluster unless others are asked for.
func defaultRanges() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(bootstrap.DefaultPodCIDR), netip.MustParsePrefix(bootstrap.DefaultServiceCIDR)}
}

// unreadable are directories of clusters without a record that this program understands.
func unreadable(d Dirs) []doctor.Finding {
	dirs, err := filepath.Glob(filepath.Join(d.State, "clusters", "*"))
	out := findings(err, "")
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if _, err := Open(d, name); err != nil {
			out = append(out, finding(doctor.Warning, fmt.Sprintf("%s is of no cluster that this program knows", dir), err.Error(),
				"remove what is there with `slipway down "+name+"`"))
		}
	}
	return out
}

func strayFindings(d Dirs, strays []string) []doctor.Finding {
	var out []doctor.Finding
	for _, id := range strays {
		out = append(out, finding(doctor.Warning, fmt.Sprintf("there is a machine %q that %s knows nothing of", id, d.State),
			"it is of another state directory, or its files were deleted by hand",
			"use the SLIPWAY_STATE that it was made with; or restart this computer, after which it is gone"))
	}
	return out
}

// Examine looks at the cluster from this computer and, by the same checks as on a server, on each of its nodes. It changes nothing.
func (c *Cluster) Examine(ctx context.Context) (*Diagnosis, error) {
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	d := &Diagnosis{Cluster: c.Name(), State: c.stateOf(machines)}
	d.add("machines", "all machines run, and their root file systems can be written to", fmt.Sprintf("%d run", len(machines)),
		c.machineFindings(d.State, machines))
	d.add("files", "what machines are made of is there", "all of it", findings(c.checkLayers(), ""))
	d.add("disk", "there is room for what the cluster writes", diskOf(home(c.dirs, c.Name())), c.diskFindings())
	running := machines[:0:0]
	for _, m := range machines {
		if m.Running() {
			running = append(running, m)
		}
	}
	if len(running) == 0 {
		return d, nil
	}
	d.add("network", "the bridge, the machines' links on it, the fences and the firewall's rules are there", "all of it", c.networkFindings())
	if c.Bare {
		return d, nil
	}
	d.Nodes = examineNodes(ctx, running)
	for _, n := range d.Nodes {
		d.Level = worse(d.Level, n.level())
	}
	d.addAPI(ctx, c)
	return d, nil
}

func (c *Cluster) machineFindings(state string, machines []*local.Machine) []doctor.Finding {
	next := fmt.Sprintf("see `slipway logs %s NODE`, and start it with `slipway start %[1]s`", c.Name())
	switch state {
	case stateStopped:
		return []doctor.Finding{finding(doctor.Warning, "the cluster is stopped", "", "start it with `slipway start "+c.Name()+"`")}
	case statePaused, statePartlyPaused:
		return []doctor.Finding{finding(doctor.Warning, "the cluster is "+state, "", "let it go on with `slipway resume "+c.Name()+"`")}
	case stateLaunching:
		return findings(c.incomplete(), "")
	case stateRemoving:
		return findings(c.removing("use"), "")
	case stateRestoring:
		return findings(c.restoring("use"), "")
	}
	var out []doctor.Finding
	there := map[string]bool{}
	for _, m := range machines {
		there[m.Name()] = true
		if !m.Running() {
			out = append(out, finding(doctor.Problem, fmt.Sprintf("machine %q does not run", m.Name()), "", next))
		}
		out = append(out, findings(c.checkRoot(m), "")...)
	}
	for _, n := range c.Nodes {
		if !there[n.Name] {
			out = append(out, finding(doctor.Problem, fmt.Sprintf("machine %q is gone, with what was on it", n.Name), "",
				fmt.Sprintf("take the node out of the cluster with `slipway node remove %s %s`", c.Name(), n.Name)))
		}
	}
	return out
}

// littleSpace is when it is time to say so.
const littleSpace = 512 << 20

func (c *Cluster) diskFindings() []doctor.Finding {
	dir := home(c.dirs, c.Name())
	free, err := freeSpace(dir)
	if err != nil || free >= littleSpace {
		return findings(err, "")
	}
	level := doctor.Warning
	if free < tightSpace {
		level = doctor.Problem
	}
	return []doctor.Finding{finding(level, fmt.Sprintf("%d MiB are free on %s", free>>20, diskOf(dir)),
		"when it is full, etcd ends and nothing can be changed", "free some space")}
}

func (c *Cluster) networkFindings() []doctor.Finding {
	next := "put it back with `slipway start " + c.Name() + "`: machines go on meanwhile"
	damage, err := c.provider().NetworkDamage(c.Name())
	out := findings(err, "")
	for _, what := range damage {
		out = append(out, finding(doctor.Problem, what, "somebody has removed or changed it since the machines were started", next))
	}
	return out
}

// examineLimit is more than the doctor on a node takes.
const examineLimit = 20 * time.Second

func examineNodes(ctx context.Context, running []*local.Machine) []NodeDiagnosis {
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	out := make([]NodeDiagnosis, len(running))
	var wg sync.WaitGroup
	for i, m := range running {
		wg.Go(func() {
			out[i].Name = m.Name()
			var err error
			if out[i].Report, err = examineNode(ctx, m); err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

// examineNode runs the doctor of servers there. It ends with another code than 0 when it has found something.
func examineNode(ctx context.Context, m *local.Machine) (*doctor.Report, error) {
	var text bytes.Buffer
	err := m.Run(ctx, local.Command{Args: []string{bootstrap.Program, "doctor", "-o", "json"}, Stdout: &text})
	var exit *local.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var r doctor.Report
	if failed := json.Unmarshal(text.Bytes(), &r); failed != nil {
		return nil, cmp.Or(err, failed)
	}
	return &r, nil
}

// addAPI asks from this computer, as the user does.
func (d *Diagnosis) addAPI(ctx context.Context, c *Cluster) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	next := fmt.Sprintf("see `slipway logs %s %s kube-apiserver`", c.Name(), c.Nodes[0].Name)
	client, err := c.client()
	var nodes *corev1.NodeList
	if err == nil {
		nodes, err = client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	}
	d.add("api", "the API answers on this computer", "at "+c.Cluster.Endpoint, findings(err, next))
	if err != nil {
		return
	}
	d.add("nodes", "all nodes are there and ready", fmt.Sprintf("%d are", len(nodes.Items)), c.nodeFindings(nodes.Items))
	d.add("addons", "the cluster's own workloads have all their pods", "all are ready", addonFindings(ctx, c, client))
}

func (c *Cluster) nodeFindings(items []corev1.Node) []doctor.Finding {
	var out []doctor.Finding
	is := map[string]bool{}
	for _, n := range items {
		is[n.Name] = true
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				out = append(out, finding(doctor.Problem, fmt.Sprintf("node %q is not ready", n.Name), cond.Message,
					fmt.Sprintf("see `slipway logs %s %s kubelet`", c.Name(), n.Name)))
			}
		}
	}
	for _, n := range c.Nodes {
		if !is[n.Name] {
			out = append(out, finding(doctor.Problem, fmt.Sprintf("the cluster has no node %q", n.Name),
				"somebody has deleted it, or it never came up", fmt.Sprintf("boot it again with `slipway restart %s %s`", c.Name(), n.Name)))
		}
	}
	return out
}

func addonFindings(ctx context.Context, c *Cluster, client *kubernetes.Clientset) []doctor.Finding {
	addons, err := addonStatus(ctx, client)
	out := findings(err, "")
	level, why := doctor.Problem, ""
	if anyStarting(ctx, client) {
		level, why = doctor.Warning, "pods were made less than a minute ago: look again soon"
	}
	for _, a := range addons {
		if a.Ready < a.Want {
			out = append(out, finding(level, fmt.Sprintf("%s has %d of %d pods ready", a.Name, a.Ready, a.Want), why,
				fmt.Sprintf("see `slipway kubectl %s -- -n kube-system describe pods`", c.Name())))
		}
	}
	return out
}

// anyStarting tells whether one of the cluster's own pods is so new that it need not be ready.
func anyStarting(ctx context.Context, client *kubernetes.Clientset) bool {
	pods, err := client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	return err == nil && slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool {
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		return !ready && time.Since(p.CreationTimestamp.Time) < time.Minute
	})
}
