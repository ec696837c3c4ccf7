// Package server is what an administrator does on a server itself: Init makes it the first control plane of a cluster, Join
// makes it a node of one that runs, Reset takes everything back.
//
// Each turns options and what it finds (this host, a cluster) into a node specification, keeps that beside the journal
// until the host has converged, so that an interrupted run goes on with the same keys, and leaves the rest to package node.
// Not in it: the steps of a node (package node), kubeadm's protocol (packages discovery and invite), printing.
package server
