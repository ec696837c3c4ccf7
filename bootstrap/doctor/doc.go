// Package doctor looks at a node that runs, or should run: [Checks] is the table of what is looked at, [Look] runs it and
// says of each thing whether it is well, why not, and what to do next.
//
// It is for the hour when nothing works. No check waits for another, each has a deadline, and each says what it can also
// when the API, etcd, the container runtime or the kubelet is down. Nothing on the host is changed. What is said holds no
// secrets: logs are quoted without what looks like one.
//
// Not in it: whether a host can become a node (package preflight), other nodes' health, repairs, printing (cmd).
package doctor
