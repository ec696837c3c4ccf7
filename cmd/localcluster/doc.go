// Package localcluster puts the parts together for a cluster on this computer: machines of the local
// provider, the fleet's bring-up, and a directory with what must be known to find both again.
//
// It is below cmd because nothing else sees machines and Kubernetes at once. Not in it: flags, printing.
package localcluster
