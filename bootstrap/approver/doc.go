// Package approver approves the requests of kubelets for serving certificates, as a controller in the cluster.
//
// Kubernetes signs such a request only when somebody approved it, and has nobody who does. [Run] does, and denies what
// can never be right, so that it is seen in `kubectl get csr`. Several may run at once without a leader: whoever is
// first decides, and the others find nothing left to do.
//
// [Judge] has the rules. That a name or address is in the status of the Node that asks is not enough, as the kubelet
// writes that itself: it must not be any other Node's, nor one by which the API is reached from inside the cluster.
// Where two Nodes report the same address neither gets a certificate for it; a kubelet that was denied asks again.
//
// Not in it: signing (the controller manager does that), client certificates of kubelets (Kubernetes approves those
// itself), addresses that nobody in the cluster knows of, such as that of a load balancer outside, permissions, the
// workload that it runs in (both addons), and printing (cmd).
package approver
