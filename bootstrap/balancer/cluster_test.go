package balancer_test

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const token = "of-the-test"

// cluster is what API servers have in common: an authority, and the one object, of which it remembers each state.
type cluster struct {
	ca   *authority
	port string // of all its servers, as it is of the object

	mu      sync.Mutex
	states  [][]string // the resource version of a state is its index
	changed chan struct{}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{ca: newAuthority(t), port: port, changed: make(chan struct{})}
}

// set makes servers those in the object.
func (c *cluster) set(servers ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = append(c.states, servers)
	close(c.changed)
	c.changed = make(chan struct{})
}

// since gives the states from version on, and what says that there are more.
func (c *cluster) since(version int) ([][]string, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[version:], c.changed
}

// kubeconfig has the balancer as its server.
func (c *cluster) kubeconfig(t *testing.T, listen string) []byte {
	t.Helper()
	k := clientcmdapi.NewConfig()
	k.Clusters["c"] = &clientcmdapi.Cluster{
		Server: "https://" + listen, TLSServerName: "kubernetes", CertificateAuthorityData: c.ca.pem,
	}
	k.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token}
	k.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	k.CurrentContext = "x"
	data, err := clientcmd.Write(*k)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ServeHTTP lists and watches EndpointSlices for a user who may see only the one.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized)
	case q.Get("fieldSelector") != "metadata.name=kubernetes":
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	case q.Get("watch") != "":
		c.watch(w, r)
	default:
		states, _ := c.since(0)
		last := len(states) - 1
		write := json.NewEncoder(w)
		w.Header().Set("Content-Type", "application/json")
		write.Encode(discoveryv1.EndpointSliceList{
			TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSliceList"},
			ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(last)},
			Items:    []discoveryv1.EndpointSlice{slice(last, states[last])},
		})
	}
}

func (c *cluster) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	send := func(kind string, s discoveryv1.EndpointSlice) {
		json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": s})
		w.(http.Flusher).Flush()
	}
	next := 0
	if q := r.URL.Query(); q.Get("sendInitialEvents") == "true" {
		states, _ := c.since(0)
		next = len(states)
		s := slice(next-1, states[next-1])
		send("ADDED", s)
		s.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		send("BOOKMARK", s)
	} else if v, err := strconv.Atoi(q.Get("resourceVersion")); err == nil {
		next = v + 1
		w.(http.Flusher).Flush()
	}
	for {
		states, more := c.since(next)
		for _, s := range states {
			send("MODIFIED", slice(next, s))
			next++
		}
		select {
		case <-r.Context().Done():
			return
		case <-more:
		}
	}
}

// slice is the object as the API servers write it.
func slice(version int, servers []string) discoveryv1.EndpointSlice {
	s := discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "kubernetes", Namespace: "default", ResourceVersion: strconv.Itoa(version),
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	name := "https"
	for _, server := range servers {
		host, text, _ := net.SplitHostPort(server)
		port, _ := strconv.ParseInt(text, 10, 32)
		number := int32(port)
		s.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &number}}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{host}})
	}
	return s
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: "the test says " + string(reason),
	})
}
