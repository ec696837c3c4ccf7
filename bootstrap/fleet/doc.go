// Package fleet brings up all nodes of a cluster at the same time: every certificate and the full
// list of etcd's members are known before any host is touched, so no host waits for another one's
// files. Each host converges itself (`slipway node converge`), with its specification on standard
// input and its events on standard output.
//
// Not in it: how machines are made and reached (providers; the caller hands in [Host] values), what a
// node's steps are (package node).
package fleet
