// Package serviceip gives Services of type LoadBalancer an address of a range that is reserved for them, as a controller in the
// cluster.
//
// [Run] writes the address to the Service's status; from there kube-proxy has every node answer for it. What leads packets for
// the range to a node is not made here. It serves Services without a class and those of [Class], heeds spec.loadBalancerIP,
// and keeps an address with its Service for as long as that exists. What is given out is known from the Services' own status:
// there is no other record that could differ from it. Of several that run, one works at a time: they share a Lease.
//
// Not in it: permissions and the workload that it runs in (both addons), routes to the range (whoever made the cluster), and
// printing (cmd).
package serviceip
