package localcluster

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Mount is a file or directory of this computer that nodes see.
type Mount struct {
	HostPath string `json:"hostPath"`
	NodePath string `json:"nodePath"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	Role     string `json:"role,omitempty"` // empty: all nodes
}

// Role is what the nodes of one role register with.
type Role struct {
	Labels map[string]string `json:"labels,omitempty"`
	Taints []bootstrap.Taint `json:"taints,omitempty"`
}

// Roles are the two of them.
type Roles struct {
	ControlPlane Role `json:"controlPlane,omitzero"`
	Worker       Role `json:"worker,omitzero"`
}

// The roles, as mounts and errors name them.
const (
	controlPlaneRole = "control-plane"
	workerRole       = "worker"
)

func roleOf(n bootstrap.Node) string {
	if n.ControlPlane {
		return controlPlaneRole
	}
	return workerRole
}

// refuseField is refuse for what has no flag.
func (o Options) refuseField(errs *[]error) func(err error, path ...string) {
	return func(err error, path ...string) {
		*errs = append(*errs, fault.New("config-invalid", "use "+o.Origin.Field(path...), err,
			"`slipway config schema` and docs/config.md say what each field takes"))
	}
}

func (o Options) checkMounts() error {
	var errs []error
	bad := o.refuseField(&errs)
	for i, m := range o.Mounts {
		at := func(name string) []string { return []string{"mounts", strconv.Itoa(i), name} }
		if _, err := os.Stat(m.HostPath); err != nil || m.HostPath == "" {
			bad(fmt.Errorf("this computer has no %q", m.HostPath), at("hostPath")...)
		}
		if err := checkNodePath(m.NodePath); err != nil {
			bad(err, at("nodePath")...)
		}
		if !slices.Contains([]string{"", controlPlaneRole, workerRole}, m.Role) {
			bad(fmt.Errorf("%q is no role: it is %s or %s, or left out for both", m.Role, controlPlaneRole, workerRole), at("role")...)
		}
		for _, other := range o.Mounts[:i] {
			if filepath.Clean(other.NodePath) == filepath.Clean(m.NodePath) && (other.Role == m.Role || other.Role == "" || m.Role == "") {
				bad(fmt.Errorf("%q is mounted twice", m.NodePath), at("nodePath")...)
			}
		}
	}
	return errors.Join(errs...)
}

// machineOwn are what a machine needs as it is: nothing may be mounted on, in or above it.
func machineOwn() []string {
	return []string{
		"/proc", "/sys", "/dev", "/run/host", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/slipway",
		"/etc/kubernetes", "/etc/systemd", "/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/lib", "/bin", "/sbin", "/lib", "/opt/cni",
		"/etc/cni", "/root/.ssh", "/var/log/pods",
	}
}

func checkNodePath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	within := func(a, b string) bool { return a == "/" || a == b || strings.HasPrefix(b, a+"/") }
	path = filepath.Clean(path)
	for _, own := range machineOwn() {
		if within(path, own) || within(own, path) {
			return fmt.Errorf("the machine needs its own %q: mount it somewhere else, as in /mnt", own)
		}
	}
	return nil
}

func (o Options) checkRoles() error {
	var errs []error
	bad := o.refuseField(&errs)
	for _, name := range []string{controlPlaneRole, workerRole} {
		r := o.Worker
		if name == controlPlaneRole {
			r = o.ControlPlane
		}
		for _, key := range slices.Sorted(maps.Keys(r.Labels)) {
			if err := checkLabel(key, r.Labels[key]); err != nil {
				bad(err, "roles", name, "labels", key)
			}
		}
		for i, t := range r.Taints {
			if err := checkTaint(t); err != nil {
				bad(err, "roles", name, "taints", strconv.Itoa(i))
			}
		}
	}
	return errors.Join(errs...)
}

// checkLabel also refuses what a kubelet may not give itself:
// https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
func checkLabel(key, value string) error {
	if err := metav1.ValidateLabels(map[string]string{key: value}, field.NewPath("label")).ToAggregate(); err != nil {
		return err
	}
	domain, _, prefixed := strings.Cut(key, "/")
	under := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	theirs := under("kubernetes.io") || under("k8s.io")
	if prefixed && theirs && !under("node.kubernetes.io") && !under("kubelet.kubernetes.io") {
		return errors.New("a node may not give itself labels of kubernetes.io or k8s.io")
	}
	return nil
}

func checkTaint(t bootstrap.Taint) error {
	if why := append(validation.IsQualifiedName(t.Key), validation.IsValidLabelValue(t.Value)...); len(why) > 0 {
		return errors.New(strings.Join(why, "; "))
	}
	if effects := []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}; !slices.Contains(effects, t.Effect) {
		return fmt.Errorf("its effect is %q, not one of %s", t.Effect, strings.Join(effects, ", "))
	}
	return nil
}

// version is that of Kubernetes if the options say it, or nothing.
func (o Options) version() string {
	if o.Version == "" && o.Bundle != "" {
		return ""
	}
	set, err := pins.For(o.Version)
	if err != nil {
		return "" // whoever looks for the bundle says so
	}
	return set.Kubernetes
}

// checkSettings is done again when the bundle has said the version.
func (o Options) checkSettings(version string) error {
	var errs []error
	bad := o.refuseField(&errs)
	for _, p := range o.Settings.Check(version) {
		bad(p.Err, p.Path...)
	}
	return errors.Join(errs...)
}

// binds are what the nodes of one role see of this computer.
func (r Record) binds(n bootstrap.Node) (out []local.Bind) {
	for _, m := range r.Mounts {
		if m.Role == "" || m.Role == roleOf(n) {
			out = append(out, local.Bind{Source: m.HostPath, Target: m.NodePath, ReadOnly: m.ReadOnly})
		}
	}
	return out
}

// register gives a node the labels and taints of its role.
func (r Roles) register(n *bootstrap.Node) {
	of := r.Worker
	if n.ControlPlane {
		of = r.ControlPlane
	}
	n.Labels, n.Taints = of.Labels, of.Taints
}

// sameExtras compares what only a file can say.
func (r Record) sameExtras(o Options, differs func(what string, is, wanted any)) {
	differs("DNS domain", r.Cluster.DNSDomain, o.DNSDomain)
	differs("CNI none", r.Cluster.NoCNI, o.CNI == cniNone)
	differs("mounts", fmt.Sprintf("%+v", r.Mounts), fmt.Sprintf("%+v", o.Mounts))
	r.Cluster.Settings.Compare(o.Settings, differs)
	differRoles := func(name string, is, wanted Role) {
		differs("labels of role "+name, fmt.Sprint(is.Labels), fmt.Sprint(wanted.Labels))
		differs("taints of role "+name, fmt.Sprint(is.Taints), fmt.Sprint(wanted.Taints))
	}
	differRoles(controlPlaneRole, r.Roles.ControlPlane, o.ControlPlane)
	differRoles(workerRole, r.Roles.Worker, o.Worker)
}
