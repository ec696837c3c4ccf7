// Package balancer is the small TCP load balancer that every node runs on loopback, so that what runs there (kubelet,
// kube-proxy, the network) reaches the API whichever control plane lives.
//
// [Run] accepts connections and joins each with one to an API server. The servers are those of the EndpointSlice
// "kubernetes", which the API servers keep themselves; it is watched through the balancer. The last list lies in a file
// ([ReadServers], [WriteServers]), so that a node that starts while no API server lives knows where to look.
// An empty list is never taken over: the last API server, when it stops, takes its address away too.
//
// Each server's /readyz is asked every second. What that says decides which servers are tried first, never whether one
// is tried at all: a client sees an error only if no server accepts a connection. While none does, clients are refused as
// they would be by the server itself, and servers are asked more often. Only the first server after a boot is waited for: by clients, once
// it is about to come, and until it knows what it allows. Connections to a server that is down
// are closed as soon as another is up to take them, and not before: when all say that they are not ready, what still
// works goes on.
//
// Not in it: TLS (it passes bytes on, and holds no key), the unit that starts it (package node), and printing (cmd).
package balancer
