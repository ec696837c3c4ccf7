// Package local makes machines on this computer: containers with systemd as PID 1 and sshd.
//
// A machine is run by the bundle's own runc on an overlay of read-only layers. It has its own
// network namespace on its cluster's bridge and its own cgroup subtree in every hierarchy.
// What is going to be made is written down before it is made, so Delete and DeleteNetwork can
// take back everything, also after a crash in the middle.
//
// Not in it: Kubernetes, what the layers hold and where they come from, what the caller keeps
// in the directory of a machine, and which subnets a cluster is given.
package local
