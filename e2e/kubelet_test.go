package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// checkKubeletMetrics asks every kubelet itself, with the cluster's CA as the only one trusted.
func checkKubeletMetrics(t *testing.T, _ cluster) {
	config := restConfig(t)
	anonymous := rest.AnonymousClientConfig(config)
	for name, address := range nodeAddresses(t) {
		t.Run(name, func(t *testing.T) {
			url := "https://" + net.JoinHostPort(address, "10250") + "/metrics"
			if status, body := ask(t, config, url); status != http.StatusOK || !strings.Contains(body, "kubelet_running_pods") {
				t.Errorf("with the admin's certificate: status %d", status)
			}
			if status, _ := ask(t, anonymous, url); status != http.StatusUnauthorized {
				t.Errorf("without a certificate: status %d, want 401", status)
			}
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "10255"), 2*time.Second)
			if err == nil {
				conn.Close()
				t.Error("the read-only port is open")
			}
		})
	}
	checkAnonymous(t, anonymous)
}

// checkAnonymous: without credentials only the health paths and cluster-info answer.
func checkAnonymous(t *testing.T, anonymous *rest.Config) {
	t.Helper()
	for path, want := range map[string]int{
		"/readyz": 200, "/livez": 200, "/healthz": 200,
		"/api/v1/namespaces/kube-public/configmaps/cluster-info": 200,
		"/api": 401, "/version": 401, "/api/v1/namespaces/default/pods": 401, "/metrics": 401,
	} {
		if status, body := ask(t, anonymous, anonymous.Host+path); status != want {
			t.Errorf("anonymous %s: status %d, want %d: %.200s", path, status, want, body)
		}
	}
}

func ask(t *testing.T, config *rest.Config, url string) (status int, body string) {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		return 0, fmt.Sprint(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}
