// Package certs is the public key infrastructure of a cluster: its certificate authorities, a
// table of every certificate with the file it lies in, and the kubeconfigs that carry them.
//
// Names, subjects and lifetimes are kubeadm's, so that what administrators and their tools know
// keeps working, and what kubeadm or an administrator made on a host is used as it is: authorities
// are loaded, certificates checked and renewed. Certificates are signed with cfssl; keys are made
// here and never leave the values returned. The package also merges a cluster's kubeconfig into a
// user's own file.
//
// Not in it: writing files to a node (bootstrap does that, with its journal), sending certificate
// signing requests to a cluster, authorities whose key is not on the host.
package certs
