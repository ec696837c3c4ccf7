package localcluster

import "strings"

// saidBy names the flag, or the field of the file, by which a setting is asked for that a cluster has otherwise.
func (o Options) saidBy(what string) string {
	flag, ok := map[string]string{
		"control planes": "--control-planes", "workers": "--workers", "egress": "--egress", "pod CIDR": "--pod-cidr",
		"service CIDR": "--service-cidr", "Typha": "--typha", "keys": "--key-algorithm", "registry mirrors": "--registry-mirror",
		"published ports": "--publish", "subnet": "--subnet", "bundle": "--bundle", "Kubernetes": "--kubernetes-version",
		"processors of each node": "--cpus", "bytes of memory of each node": "--memory",
		"snapshot": "--from", "DNS domain": "--dns-domain", "CNI none": "--cni",
	}[what]
	if !ok {
		return "--config"
	}
	return strings.Join(strings.Fields(o.Origin.Flag(flag, "")), " ")
}

// sameSize takes the size that the cluster was launched with for the same as the one that it has by now.
func (c *Cluster) sameSize(o Options, differs func(what string, is, wanted any)) {
	controlPlanes, workers := c.Size()
	now := controlPlanes == o.ControlPlanes && workers == o.Workers
	if launched := len(c.Cluster.ControlPlanes) == o.ControlPlanes && c.Cluster.Workers == o.Workers; !now && !launched {
		differs("control planes", controlPlanes, o.ControlPlanes)
		differs("workers", workers, o.Workers)
	}
}
