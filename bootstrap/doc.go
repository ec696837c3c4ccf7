// Package bootstrap holds what the parts below it agree on: the versioned specification of a node,
// which is all that crosses from whoever drives a bring-up to the host.
//
// Package engine runs steps on one host, package node says what the steps of a node are, and
// package fleet brings up all nodes of a cluster at once. Not in it: machines (providers), what
// runs in the cluster (addons), where bytes come from (images).
package bootstrap
