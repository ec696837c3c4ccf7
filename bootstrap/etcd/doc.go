// Package etcd changes who is a member of a running cluster's etcd: one at a time adds itself, as a learner that gets its
// vote when it has caught up, and leaves again. It looks at an etcd that others run.
//
// Not in it: how a member is run (package node), data and backups.
package etcd
