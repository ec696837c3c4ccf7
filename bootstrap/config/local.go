package config

import (
	"slipway.dev/slipway/bootstrap/settings"
)

// LocalCluster is what `slipway up` can be told.
type LocalCluster struct {
	Header     `yaml:",inline"`
	Components `yaml:",inline"`

	Name              *string `yaml:"name,omitempty"`
	ControlPlanes     *int    `yaml:"controlPlanes,omitempty"`
	Workers           *int    `yaml:"workers,omitempty"`
	KubernetesVersion *string `yaml:"kubernetesVersion,omitempty"`
	Bundle            *string `yaml:"bundle,omitempty"`
	RegistryCA        *string `yaml:"registryCA,omitempty"`
	RegistryPlainHTTP *bool   `yaml:"registryPlainHTTP,omitempty"`
	Egress            *bool   `yaml:"egress,omitempty"`
	KeyAlgorithm      *string `yaml:"keyAlgorithm,omitempty"`
	Typha             *bool   `yaml:"typha,omitempty"`
	CNI               *string `yaml:"cni,omitempty"`
	Subnet            *string `yaml:"subnet,omitempty"`
	PodCIDR           *string `yaml:"podCIDR,omitempty"`
	ServiceCIDR       *string `yaml:"serviceCIDR,omitempty"`
	DNSDomain         *string `yaml:"dnsDomain,omitempty"`

	CPUs   *float64 `yaml:"cpus,omitempty"`
	Memory *string  `yaml:"memory,omitempty"`

	Images          []string `yaml:"images,omitempty"`
	RegistryMirrors []string `yaml:"registryMirrors,omitempty"`
	Publish         []string `yaml:"publish,omitempty"`
	Mounts          []Mount  `yaml:"mounts,omitempty"`
	Roles           *Roles   `yaml:"roles,omitempty"`
}

// Mount is a file or directory of this computer that nodes see.
type Mount struct {
	HostPath string `yaml:"hostPath"`
	NodePath string `yaml:"nodePath"`
	ReadOnly bool   `yaml:"readOnly,omitempty"`
	Role     string `yaml:"role,omitempty"`
}

// Roles are the two that a node can have.
type Roles struct {
	ControlPlane Role `yaml:"control-plane,omitempty"`
	Worker       Role `yaml:"worker,omitempty"`
}

// Role is what the nodes of one role register with.
type Role struct {
	Labels map[string]*string `yaml:"labels,omitempty"`
	Taints []Taint            `yaml:"taints,omitempty"`
}

// Taint keeps pods away from a node.
type Taint struct {
	Key    string `yaml:"key"`
	Value  string `yaml:"value,omitempty"`
	Effect string `yaml:"effect"`
}

// Components is what a cluster's components are given beyond what Slipway gives them. None of it has a flag.
type Components struct {
	FeatureGates      map[string]*bool `yaml:"featureGates,omitempty"`
	APIServer         *Component       `yaml:"apiServer,omitempty"`
	ControllerManager *Component       `yaml:"controllerManager,omitempty"`
	Scheduler         *Component       `yaml:"scheduler,omitempty"`
	Kubelet           map[string]any   `yaml:"kubelet,omitempty"`
}

// Component is one part of a control plane.
type Component struct {
	ExtraArgs map[string]*string `yaml:"extraArgs,omitempty"`
}

// Settings is the same in the form that the nodes get it. What has no value is as if it was not there.
func (c Components) Settings() settings.Settings {
	return settings.Settings{
		FeatureGates: said(c.FeatureGates), Kubelet: c.Kubelet,
		APIServer: c.APIServer.args(), ControllerManager: c.ControllerManager.args(), Scheduler: c.Scheduler.args(),
	}
}

func (c *Component) args() map[string]string {
	if c == nil {
		return nil
	}
	return said(c.ExtraArgs)
}

// NodeLabels are those that have a value.
func (r Role) NodeLabels() map[string]string { return said(r.Labels) }

func said[T any](m map[string]*T) map[string]T {
	var out map[string]T
	for k, v := range m {
		if v == nil {
			continue
		}
		if out == nil {
			out = map[string]T{}
		}
		out[k] = *v
	}
	return out
}
