package config

import (
	"slipway.dev/slipway/bootstrap/settings"
)

// LocalCluster is what `slipway up` can be told.
type LocalCluster struct {
	Header     `yaml:",inline"`
	Components `yaml:",inline"`

	Name              *string `yaml:"name,omitempty" doc:"name of the cluster"`
	ControlPlanes     *int    `yaml:"controlPlanes,omitempty" doc:"number of control planes, odd"`
	Workers           *int    `yaml:"workers,omitempty" doc:"number of workers; without any, control planes take workloads"`
	KubernetesVersion *string `yaml:"kubernetesVersion,omitempty" doc:"version or minor, as in 1.37; a bundle of another one is refused"`
	Bundle            *string `yaml:"bundle,omitempty" doc:"directory of the bundle, or oci://HOST/NAME:TAG in a registry"`
	RegistryCA        *string `yaml:"registryCA,omitempty" doc:"file with authorities that a registry may have its certificate from, besides the system's"` //nolint:lll // a text
	RegistryPlainHTTP *bool   `yaml:"registryPlainHTTP,omitempty" doc:"let a registry be spoken to without TLS, passwords included"`
	Egress            *bool   `yaml:"egress,omitempty" doc:"let the cluster reach beyond this computer"`
	KeyAlgorithm      *string `yaml:"keyAlgorithm,omitempty" doc:"of all keys and certificates: ecdsa (P-256) or rsa (2048 bits)" enum:"ecdsa,rsa"`
	Typha             *bool   `yaml:"typha,omitempty" doc:"put Calico's Typha between the nodes and the API server"`
	CNI               *string `yaml:"cni,omitempty" doc:"network of pods: calico, or none to install one yourself" enum:"calico,none"`
	Subnet            *string `yaml:"subnet,omitempty" doc:"subnet of the machines, for example 10.89.7.0/24"`
	PodCIDR           *string `yaml:"podCIDR,omitempty" doc:"addresses of pods"`
	ServiceCIDR       *string `yaml:"serviceCIDR,omitempty" doc:"addresses of services"`
	DNSDomain         *string `yaml:"dnsDomain,omitempty" doc:"domain of services"`
	Mounts            []Mount `yaml:"mounts,omitempty" doc:"files and directories of this computer that nodes see"`
	Roles             *Roles  `yaml:"roles,omitempty" doc:"what nodes of one role register with"`
}

// Mount is a file or directory of this computer that nodes see.
type Mount struct {
	HostPath string `yaml:"hostPath" doc:"path on this computer"`
	NodePath string `yaml:"nodePath" doc:"absolute path on the nodes"`
	ReadOnly bool   `yaml:"readOnly,omitempty" doc:"let nobody on the nodes change it"`
	Role     string `yaml:"role,omitempty" doc:"only nodes of this role see it" enum:"control-plane,worker"`
}

// Roles are the two that a node can have.
type Roles struct {
	ControlPlane Role `yaml:"control-plane,omitempty" doc:"the control planes"`
	Worker       Role `yaml:"worker,omitempty" doc:"the workers"`
}

// Role is what the nodes of one role register with.
type Role struct {
	Labels map[string]*string `yaml:"labels,omitempty" doc:"labels of the nodes"`
	Taints []Taint            `yaml:"taints,omitempty" doc:"taints of the nodes, besides those that Slipway sets"`
}

// Taint keeps pods away from a node.
type Taint struct {
	Key    string `yaml:"key" doc:"key of the taint"`
	Value  string `yaml:"value,omitempty" doc:"value of the taint"`
	Effect string `yaml:"effect" doc:"what happens to pods that do not tolerate it" enum:"NoSchedule,PreferNoSchedule,NoExecute"`
}

// Components is what a cluster's components are given beyond what Slipway gives them. None of it has a flag.
type Components struct {
	FeatureGates      map[string]*bool `yaml:"featureGates,omitempty" doc:"feature gates, given to all components that know them"`
	APIServer         *Component       `yaml:"apiServer,omitempty" doc:"the API servers"`
	ControllerManager *Component       `yaml:"controllerManager,omitempty" doc:"the controller managers"`
	Scheduler         *Component       `yaml:"scheduler,omitempty" doc:"the schedulers"`
	Kubelet           map[string]any   `yaml:"kubelet,omitempty" doc:"part of a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) of all nodes, merged over Slipway's own"` //nolint:lll // a text
}

// Component is one part of a control plane.
type Component struct {
	ExtraArgs map[string]*string `yaml:"extraArgs,omitempty" doc:"flags without hyphens in front, and their values"`
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
